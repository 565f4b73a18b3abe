//! Bodies of the load: made from a number, sent, and forgotten.

use crate::push::{self, Pushes};

/// The repository of project 0; every other has a name of the same length.
const REPO: &str = "load/p0000";

/// Makes pushes of about 8 KiB from numbers.
#[derive(Debug)]
pub struct Bodies {
    template: String,
    commit: String,
    series: u64,
}

impl Bodies {
    /// Bodies of different series share no GUID and no commit.
    pub fn new(series: u64) -> Self {
        let (template, commit) = Pushes::to(REPO, series).into_template();
        Self { template, commit, series }
    }

    /// The repository of a project.
    pub fn repo(project: usize) -> String {
        format!("load/p{project:04}")
    }

    /// A signed push as the bytes of an HTTP request.
    pub fn request(&self, path: &str, number: u64, project: usize) -> Vec<u8> {
        let body = self.template.replace(&self.commit, &self.commit_of(number)).replace("p0000", &format!("p{project:04}"));
        push::request(path, &format!("{:08x}-0000-4000-8000-{number:012x}", self.series), body.as_bytes())
    }

    fn commit_of(&self, number: u64) -> String {
        format!("{:020x}{number:020x}", self.series + 1)
    }

    /// The number of the push with this head commit, if it is one of these.
    pub fn number_of_commit(&self, commit: &str) -> Option<u64> {
        let (series, number) = commit.split_at_checked(20)?;
        let is_ours = u64::from_str_radix(series, 16).ok()? == self.series + 1;
        u64::from_str_radix(number, 16).ok().filter(|_| is_ours)
    }

    /// The number of the push with this GUID, if it is one of these.
    pub fn number_of_guid(&self, guid: &str) -> Option<u64> {
        let number = guid.strip_prefix(&format!("{:08x}-0000-4000-8000-", self.series))?;
        u64::from_str_radix(number, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_again_in_guid_and_commit() {
        let bodies = Bodies::new(3);
        let request = String::from_utf8(bodies.request("/", 77, 12)).unwrap();
        assert!(request.contains("\"full_name\":\"load/p0012\"") && !request.contains("p0000"), "{request}");
        let commit = bodies.commit_of(77);
        assert!(request.contains(&format!("\"after\":\"{commit}\"")), "{request}");
        assert_eq!(bodies.number_of_commit(&commit), Some(77));
        assert_eq!(bodies.number_of_guid("00000003-0000-4000-8000-00000000004d"), Some(77));
        assert_eq!(Bodies::new(4).number_of_commit(&commit), None);
        assert_eq!(bodies.number_of_commit("é"), None);
    }
}
