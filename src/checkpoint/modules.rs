//! The module tree that dotted tensor names spell out, without building one.
//!
//! Sorted by their components, the tensors of a module are neighbours. A module is then a span of
//! the sorted names and the length of the prefix they share, its bytes a difference of two sums,
//! and nothing recurses, however deep a hostile name is.

use std::cmp::Ordering;

/// One tensor to be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanItem<'a> {
    /// Its dotted name, unique among the items.
    pub name: &'a str,
    /// The bytes it will take, as selected.
    pub bytes: u64,
}

/// The tensors of a checkpoint in natural order of their names.
pub(super) struct Modules<'a> {
    items: &'a [PlanItem<'a>],
    /// Places in `items`, sorted.
    order: Vec<usize>,
    /// Bytes of the first n tensors of `order`; one more than it.
    sums: Vec<u64>,
}

/// A module, or a single tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Module {
    /// Its first tensor in the sorted order.
    start: usize,
    /// The place after its last one.
    end: usize,
    /// Length of its path and the dot after it, 0 for the root.
    prefix: usize,
}

impl<'a> Modules<'a> {
    /// Sorts the tensors; none if their bytes do not add up to a number.
    pub(super) fn new(items: &'a [PlanItem<'a>]) -> Option<Self> {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by(|a, b| natural_order(items[*a].name, items[*b].name));
        let mut sums = Vec::with_capacity(items.len() + 1);
        sums.push(0_u64);
        for item in &order {
            sums.push(sums.last()?.checked_add(items[*item].bytes)?);
        }
        Some(Self { items, order, sums })
    }

    /// The module that holds all tensors.
    pub(super) fn root(&self) -> Module {
        Module {
            start: 0,
            end: self.order.len(),
            prefix: 0,
        }
    }

    /// Bytes of all tensors of a module.
    pub(super) fn bytes(&self, module: Module) -> u64 {
        self.sums[module.end] - self.sums[module.start]
    }

    /// Places of a module's tensors in the list of items, in natural order.
    pub(super) fn items(&self, module: Module) -> &[usize] {
        &self.order[module.start..module.end]
    }

    fn name(&self, at: usize) -> &'a str {
        self.items[self.order[at]].name
    }

    /// The dotted path, empty for the root.
    pub(super) fn path(&self, module: Module) -> &'a str {
        match module.prefix.checked_sub(1) {
            Some(len) => &self.name(module.start)[..len],
            None => "",
        }
    }

    /// Whether this is a tensor and no module.
    pub(super) fn is_tensor(&self, module: Module) -> bool {
        // A name that is a prefix of another sorts first, so the last one decides.
        module
            .end
            .checked_sub(1)
            .is_some_and(|last| self.name(last).len() < module.prefix)
    }

    /// Whether this is a module of nothing but tensors, such as a `weight` and its `bias`.
    pub(super) fn is_leaf(&self, module: Module) -> bool {
        !self.is_tensor(module)
            && (module.start..module.end)
                .filter_map(|at| self.name(at).get(module.prefix..))
                .all(|rest| !rest.contains('.'))
    }

    /// Whether this is a module whose last component is a number: one of a list of blocks.
    pub(super) fn is_numbered(&self, module: Module) -> bool {
        let last = self.path(module).rsplit('.').next().unwrap_or_default();
        is_number(last) && !self.is_tensor(module)
    }

    /// Whether a numbered module lies somewhere in this one.
    pub(super) fn holds_numbered(&self, module: Module) -> bool {
        (module.start..module.end)
            .filter_map(|at| self.name(at).get(module.prefix..)?.rsplit_once('.'))
            .any(|(modules, _)| modules.split('.').any(is_number))
    }

    /// The tensors and modules directly in a module, in natural order.
    pub(super) fn children(&self, module: Module) -> Vec<Module> {
        let mut children: Vec<Module> = Vec::new();
        for at in module.start..module.end {
            let name = self.name(at);
            // None for the module's own name, where a tensor has the name of a module.
            let rest = name.get(module.prefix..);
            let prefix = rest.map_or(module.prefix, |rest| {
                module.prefix + rest.find('.').unwrap_or(rest.len()) + 1
            });
            // Of the path only what is new here, or two deep names would cost their length squared.
            let same = |other: &Module| {
                rest.is_some()
                    && other.prefix == prefix
                    && self.name(other.start)[module.prefix..prefix - 1]
                        == name[module.prefix..prefix - 1]
            };
            match children.last_mut() {
                Some(last) if same(last) => last.end = at + 1,
                _ => children.push(Module {
                    start: at,
                    end: at + 1,
                    prefix,
                }),
            }
        }
        children
    }

    /// Goes down from the root and collects the modules at which `stop` says so, and the tensors
    /// above such modules, in natural order.
    pub(super) fn cut(&self, stop: impl Fn(Module) -> bool) -> Vec<Module> {
        let mut found = Vec::new();
        let mut open = vec![self.root()];
        while let Some(module) = open.pop() {
            if self.is_tensor(module) || stop(module) {
                found.push(module);
            } else {
                open.extend(self.children(module).into_iter().rev());
            }
        }
        found
    }
}

fn is_number(component: &str) -> bool {
    !component.is_empty() && component.bytes().all(|byte| byte.is_ascii_digit())
}

/// Orders dotted names by their components, numbers in them by value: `layers.2` before
/// `layers.10`, a name before those it is a prefix of.
pub(super) fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (Some(a), Some(b)) => match component_order(a.as_bytes(), b.as_bytes()) {
                Ordering::Equal => {}
                order => return order,
            },
            (a, b) => return a.is_some().cmp(&b.is_some()),
        }
    }
}

fn component_order(a: &[u8], b: &[u8]) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    loop {
        let (digits_a, digits_b) = (digits(rest_a), digits(rest_b));
        let order = if digits_a > 0 && digits_b > 0 {
            let (number_a, after_a) = rest_a.split_at(digits_a);
            let (number_b, after_b) = rest_b.split_at(digits_b);
            (rest_a, rest_b) = (after_a, after_b);
            let (number_a, number_b) = (significant(number_a), significant(number_b));
            number_a
                .len()
                .cmp(&number_b.len())
                .then(number_a.cmp(number_b))
        } else {
            match (rest_a.split_first(), rest_b.split_first()) {
                (Some((first_a, after_a)), Some((first_b, after_b))) => {
                    (rest_a, rest_b) = (after_a, after_b);
                    first_a.cmp(first_b)
                }
                // Different spellings of one number, `1` and `01`, stay different components.
                (None, None) => return a.cmp(b),
                (None, Some(_)) => return Ordering::Less,
                (Some(_), None) => return Ordering::Greater,
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn digits(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}

/// A number without its leading zeros.
fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|digit| **digit == b'0').count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn items<'a>(names: &[&'a str]) -> Vec<PlanItem<'a>> {
        names
            .iter()
            .map(|name| PlanItem { name, bytes: 1 })
            .collect()
    }

    #[test]
    fn numbers_sort_by_value() {
        let mut names = [
            "l.10.w", "l.2.w", "l.2", "l", "a", "l.02.w", "l.x2", "l.x10", "", "l.2b.w",
        ];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            [
                "", "a", "l", "l.02.w", "l.2", "l.2.w", "l.2b.w", "l.10.w", "l.x2", "l.x10"
            ]
        );
    }

    #[test]
    fn children_are_modules_and_tensors_in_natural_order() {
        let items = items(&[
            "m.h.10.w",
            "m.h.2.w",
            "m.h.2.b",
            "m.w",
            "m",
            "lm_head.weight",
            "bias",
        ]);
        let modules = Modules::new(&items).unwrap();
        let paths = |module| {
            let children = modules.children(module);
            children
                .iter()
                .map(|child| modules.path(*child))
                .collect::<Vec<_>>()
        };
        assert_eq!(paths(modules.root()), ["bias", "lm_head", "m"]);
        let children = modules.children(modules.root());
        assert!(modules.is_tensor(children[0]));
        assert!(modules.is_leaf(children[1]));
        assert!(!modules.is_leaf(children[2]) && modules.holds_numbered(children[2]));
        assert_eq!(paths(children[2]), ["m", "m.h", "m.w"]);
        let own = modules.children(children[2])[0];
        assert!(modules.is_tensor(own) && modules.bytes(own) == 1);
        let list = modules.children(children[2])[1];
        assert_eq!(paths(list), ["m.h.2", "m.h.10"]);
        let block = modules.children(list)[0];
        assert!(modules.is_numbered(block) && !modules.holds_numbered(block));
        assert_eq!(modules.items(block), [2, 1]);
    }

    #[test]
    fn a_numbered_tensor_is_no_block() {
        let items = items(&["params.0", "params.1"]);
        let modules = Modules::new(&items).unwrap();
        let params = modules.children(modules.root())[0];
        assert!(modules.is_leaf(params) && !modules.holds_numbered(params));
        assert!(!modules.is_numbered(modules.children(params)[0]));
    }

    #[test]
    fn a_name_of_a_million_components_is_walked_without_recursion() {
        let name = "a.".repeat(1 << 20);
        let other = format!("{name}b");
        let items = items(&[&name, &other]);
        let modules = Modules::new(&items).unwrap();
        assert_eq!(modules.cut(|_| false).len(), 2);
    }

    #[test]
    fn names_that_stand_twice_are_not_lost() {
        let items = items(&["a", "a.b", "a", "a.b"]);
        let modules = Modules::new(&items).unwrap();
        let found = modules.cut(|_| false);
        assert_eq!(
            found
                .iter()
                .map(|module| modules.items(*module).len())
                .sum::<usize>(),
            4
        );
    }

    #[test]
    fn a_sum_that_overflows_is_none() {
        let items = [
            PlanItem {
                name: "a",
                bytes: u64::MAX,
            },
            PlanItem {
                name: "b",
                bytes: 1,
            },
        ];
        assert!(Modules::new(&items).is_none());
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[01a.]{0,5}", b in "[01a.]{0,5}", c in "[01a.]{0,5}") {
            prop_assert_eq!(natural_order(&a, &b), natural_order(&b, &a).reverse());
            prop_assert_eq!(natural_order(&a, &b) == Ordering::Equal, a == b);
            if natural_order(&a, &b).is_le() && natural_order(&b, &c).is_le() {
                prop_assert!(natural_order(&a, &c).is_le());
            }
        }

        #[test]
        fn going_down_finds_every_tensor_once(
            names in prop::collection::btree_set("[01a.]{0,6}", 0..12),
        ) {
            let items: Vec<_> = names.iter().map(|name| PlanItem { name, bytes: 1 }).collect();
            let modules = Modules::new(&items).unwrap();
            for (all, stop) in [(true, false), (false, true)] {
                let found = modules.cut(|module| stop && modules.is_leaf(module));
                let mut places: Vec<_> =
                    found.iter().flat_map(|module| modules.items(*module)).copied().collect();
                prop_assert!(!all || found.len() == names.len());
                places.sort_unstable();
                prop_assert_eq!(places, (0..names.len()).collect::<Vec<_>>());
            }
        }
    }
}
