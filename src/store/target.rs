//! What a user names: a CID or a pin's name, and a path below it.

use std::fmt;
use std::str::FromStr;

use crate::block::{Cid, canonical, parse_cid};
use crate::error::Explain;

/// `(CID or name)[/path]`; `/ipfs/…` and `ipfs://…` are taken too, any multibase, and CIDv0.
///
/// A text that parses as a CID is one; anything else is a pin's name.
///
/// ```
/// use ipfs_accelerate::Target;
/// let target: Target =
///     "ipfs://bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e".parse()?;
/// assert!(target.cid().is_some());
/// let target: Target = "llama-3/model.safetensors".parse()?;
/// assert_eq!(target.to_string(), "llama-3/model.safetensors");
/// assert_eq!(target.path(), "model.safetensors");
/// # Ok::<(), ipfs_accelerate::TargetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    head: Head,
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Head {
    Cid(Cid),
    Name(String),
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Nothing was named.
    #[error("no CID or name in {text:?}")]
    Empty {
        /// The text.
        text: String,
    },
    /// The path has a component that leads elsewhere.
    #[error("the path in {text:?} holds {component:?}")]
    Path {
        /// The text.
        text: String,
        /// The component.
        component: String,
    },
    /// `/ipfs/` and `ipfs://` are followed by a CID.
    #[error("{head:?} in {text:?} is no CID: {why}")]
    NotACid {
        /// The text.
        text: String,
        /// What stands where the CID should.
        head: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Explain for TargetError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Empty { .. } => "empty_target",
            Self::Path { .. } => "bad_target_path",
            Self::NotACid { .. } => "not_a_cid",
        }
    }

    fn hint(&self) -> Option<String> {
        Some("a target is CID, CID/path, NAME or NAME/path".into())
    }
}

impl Target {
    /// The object under a CID, as a whole.
    pub fn new(cid: &Cid) -> Self {
        Self {
            head: Head::Cid(canonical(cid)),
            path: String::new(),
        }
    }

    /// The object of a pin, as a whole.
    pub fn named(name: &str) -> Result<Self, TargetError> {
        name.parse()
    }

    /// The CID, if the target names one rather than a pin.
    pub fn cid(&self) -> Option<&Cid> {
        match &self.head {
            Head::Cid(cid) => Some(cid),
            Head::Name(_) => None,
        }
    }

    /// The path below the object, empty for the object itself.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The target one step or more below this one.
    pub fn join(&self, path: &str) -> Result<Self, TargetError> {
        let whole = format!("{self}/{path}");
        let path = normal(&whole, &format!("{}/{path}", self.path))?;
        Ok(Self {
            head: self.head.clone(),
            path,
        })
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }
}

/// Joins the components of a path, leaving empty ones out.
fn normal(text: &str, path: &str) -> Result<String, TargetError> {
    let mut parts = Vec::new();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        if part == "." || part == ".." || part.contains('\0') {
            return Err(TargetError::Path {
                text: text.into(),
                component: part.into(),
            });
        }
        parts.push(part);
    }
    Ok(parts.join("/"))
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let bare = text
            .strip_prefix("ipfs://")
            .or_else(|| text.strip_prefix("/ipfs/"));
        let rest = bare.unwrap_or(text);
        let (head, path) = rest.split_once('/').unwrap_or((rest, ""));
        if head.is_empty() {
            return Err(TargetError::Empty { text: text.into() });
        }
        let path = normal(text, path)?;
        let head = match parse_cid(head) {
            Ok(cid) => Head::Cid(canonical(&cid)),
            Err(e) if bare.is_some() => {
                let (head, why) = (head.to_owned(), e.to_string());
                return Err(TargetError::NotACid {
                    text: text.into(),
                    head,
                    why,
                });
            }
            Err(_) => Head::Name(head.to_owned()),
        };
        Ok(Self { head, path })
    }
}

impl From<Cid> for Target {
    fn from(cid: Cid) -> Self {
        Self::new(&cid)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.head {
            Head::Cid(cid) => write!(f, "{cid}")?,
            Head::Name(name) => f.write_str(name)?,
        }
        if !self.path.is_empty() {
            write!(f, "/{}", self.path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

    #[test]
    fn every_way_to_write_a_cid_names_the_same_object() {
        let plain: Target = CID.parse().unwrap();
        for text in [
            format!("/ipfs/{CID}"),
            format!("ipfs://{CID}"),
            format!("{CID}/"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap(), plain, "{text}");
        }
        let v0: Target = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o/a//b"
            .parse()
            .unwrap();
        assert_eq!(v0.cid().unwrap().version(), cid::Version::V1);
        assert_eq!(v0.path(), "a/b");
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for text in [
            format!("{CID}/../x"),
            "name/./x".into(),
            format!("{CID}/a/.."),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(matches!(error, TargetError::Path { .. }), "{text}: {error}");
        }
        assert!(matches!(
            "".parse::<Target>(),
            Err(TargetError::Empty { .. })
        ));
        assert!(matches!(
            "/".parse::<Target>(),
            Err(TargetError::Empty { .. })
        ));
        assert!(matches!(
            "/ipfs/name".parse::<Target>(),
            Err(TargetError::NotACid { .. })
        ));
        let named: Target = "name".parse().unwrap();
        assert!(named.join("../x").is_err());
        assert_eq!(named.join("a").unwrap().join("b").unwrap().path(), "a/b");
    }
}
