//! "Did you mean …": the known name nearest to a misspelt one.

/// The candidate that takes the fewest edits, if those are no more than half of the longer name.
pub(crate) fn nearest<'a>(
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // No known name comes near this length, and the time grows with the product of both.
    let wanted: Vec<char> = wanted.to_lowercase().chars().take(64).collect();
    candidates
        .into_iter()
        .map(|candidate| (edits(&wanted, candidate), candidate))
        .filter(|(edits, candidate)| edits * 2 <= wanted.len().max(candidate.len()))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance: insertions, deletions and substitutions.
fn edits(from: &[char], to: &str) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (i, goal) in to.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, have) in from.iter().enumerate() {
            let substituted = diagonal + usize::from(*have != goal);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[from.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_the_number_of_edits() {
        for (from, to, distance) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("port", "port", 0),
        ] {
            let from: Vec<char> = from.chars().collect();
            assert_eq!(edits(&from, to), distance);
        }
    }

    #[test]
    fn a_name_unlike_all_has_no_neighbour() {
        assert_eq!(
            nearest("max_size", ["path", "max_size_mb"]),
            Some("max_size_mb")
        );
        assert_eq!(nearest("zzzz", ["path", "max_size_mb"]), None);
    }
}
