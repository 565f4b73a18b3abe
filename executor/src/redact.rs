//! Secrets out of log lines. Pure.
//!
//! Two nets: the values that this host knows to be secret, and whatever stands
//! between `://` and `@`. What neither catches is not known here.

/// Shorter values are not replaced: they would eat ordinary words.
const SECRET_BYTES_MIN: usize = 6;
/// Endings of variable names whose values are secret.
const SECRET_ENDINGS: [&str; 5] = ["TOKEN", "SECRET", "PASSWORD", "_KEY", "CREDENTIALS"];

/// The secrets of one project.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Vec<String>,
}

impl Redactor {
    /// A redactor for these values, whatever they are called.
    pub fn add(&mut self, secret: &str) {
        if secret.len() >= SECRET_BYTES_MIN && !self.secrets.iter().any(|known| known == secret) {
            self.secrets.push(secret.to_owned());
            // The longest first, so that a part never uncovers the rest.
            self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// Adds the value of a variable whose name says that it is secret.
    pub fn add_variable(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_uppercase();
        if SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            self.add(value);
        }
    }

    /// The line without them.
    #[must_use]
    pub fn clean(&self, line: &str) -> String {
        let mut line = without_userinfo(line);
        for secret in &self.secrets {
            if line.contains(secret.as_str()) {
                line = line.replace(secret.as_str(), "[secret]");
            }
        }
        line
    }
}

fn without_userinfo(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let authority = after.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(after.len());
        let (authority, tail) = after.split_at(authority);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str("[secret]@");
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_userinfo_go() {
        let mut redactor = Redactor::default();
        redactor.add("ghp_abcdef");
        redactor.add_variable("DB_PASSWORD", "hunter22");
        redactor.add_variable("COLOUR", "turquoise");
        redactor.add("ab");
        let clean = redactor.clean("get https://x:ghp_abcdef@h/p?t=ghp_abcdef hunter22 turquoise ab see http://a/b@c");
        assert_eq!(clean, "get https://[secret]@h/p?t=[secret] [secret] turquoise ab see http://a/b@c");
    }

    proptest::proptest! {
        #[test]
        fn no_secret_gets_through(before in "\\PC{0,20}", secret in "[a-z0-9]{6,20}", after in "\\PC{0,20}") {
            let mut redactor = Redactor::default();
            redactor.add(&secret);
            let clean = redactor.clean(&format!("{before}{secret}{after}"));
            proptest::prop_assert!(!clean.replace("[secret]", "").contains(&secret));
        }
    }
}
