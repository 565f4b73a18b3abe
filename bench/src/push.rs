//! Signed push deliveries of one size, each with a GUID and a body of its own.

use doorstep_tests::{GitHub, Push, WEBHOOK_SECRET, signature};

/// Size of every body: what a push of a few commits is.
pub const BODY_BYTES: usize = 8 * 1_024;

/// Makes deliveries for one repository.
#[derive(Debug)]
pub struct Pushes {
    template: String,
    commit: String,
    series: u64,
    made: u64,
}

impl Pushes {
    /// Pushes to `main` of `owner/name`. Two of different series share nothing.
    pub fn to(repo: &str, series: u64) -> Self {
        let push = |padding: usize| {
            let message = format!("Change a few things\n\n{}", "Because they were not as they should be. ".repeat(200).get(..padding).unwrap_or_default());
            let push = Push::to("main").and_modifies(&["app.py", "shop/basket.py"]).and_modifies(&["uv.lock"]).and_modifies(&["README.md"]);
            GitHub::new(WEBHOOK_SECRET).push(repo, push.saying(&message))
        };
        // The message is there five times: in four commits, and in the head again.
        let bare = push(0).body.len();
        let delivery = push((BODY_BYTES - bare) / 5);
        let mut template = String::from_utf8_lossy(&delivery.body).into_owned();
        // White space between values is as good as any.
        let missing = BODY_BYTES - template.len();
        template.insert_str(1, &" ".repeat(missing));
        Self { template, commit: delivery.commit(), series, made: 0 }
    }

    /// The body that all are made of, and the commit in it that each replaces.
    pub fn into_template(self) -> (String, String) {
        (self.template, self.commit)
    }

    /// The next one, as the bytes of an HTTP request.
    pub fn next(&mut self, path: &str) -> Vec<u8> {
        let (guid, body) = self.next_parts();
        request(path, &guid, body.as_bytes())
    }

    /// The next one, as its GUID and its body.
    pub fn next_parts(&mut self) -> (String, String) {
        self.made += 1;
        let body = self.template.replace(&self.commit, &format!("{:020x}{:020x}", self.series + 1, self.made));
        (format!("{:08x}-0000-4000-8000-{:012x}", self.series, self.made), body)
    }
}

/// A signed push as GitHub sends it.
pub fn request(path: &str, guid: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: GitHub-Hookshot/0123abc\r\nContent-Type: application/json\r\n\
         X-GitHub-Event: push\r\nX-GitHub-Delivery: {guid}\r\nX-Hub-Signature-256: {}\r\nContent-Length: {}\r\n\r\n",
        signature(WEBHOOK_SECRET, body),
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delivery_has_the_size_and_is_new() {
        let mut pushes = Pushes::to("me/shop", 7);
        let [one, other] = [pushes.next("/"), pushes.next("/")].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let body = |text: &str| text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        assert_eq!(body(&one).len(), BODY_BYTES);
        assert_eq!(body(&other).len(), BODY_BYTES);
        assert_ne!(body(&one), body(&other));
    }
}
