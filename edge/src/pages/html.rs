//! HTML that cannot hold unescaped text by accident.
//!
//! [`Html`] grows through four doors: [`Html::raw`] takes only what stands in
//! the source as a literal, [`Html::text`] escapes, [`Html::href`] takes an
//! address that was built or checked here, [`Html::add`] takes what is already
//! [`Html`]. There is deliberately no way in from a `String`.
//!
//! The same escape serves text and attribute values, so attribute values must
//! always stand in double quotes.
//!
//! A form that changes something begins with [`Html::form`] and in no other way:
//! it leaves a place for the session's form token, which [`Html::into_page`]
//! fills. So no page can have a form without it, and no page handles it.

/// Where the form token goes. No text can hold it, since escaping drops it.
const TOKEN_PLACE: char = '\0';

/// A piece of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One piece of escaped text.
    pub fn of(text: &str) -> Self {
        let mut html = Self::new();
        html.text(text);
        html
    }

    /// Markup of our own.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        debug_assert!(!markup.contains("<form"), "forms are opened by `form`, which has the token");
        self.0.push_str(markup);
        self
    }

    /// The beginning of a form that changes something, with its token.
    pub fn form(&mut self, to: &Href) -> &mut Self {
        self.0.push_str("<form method=\"post\" action=\"");
        self.href(to).raw("\">");
        self.0.push(TOKEN_PLACE);
        self
    }

    /// The beginning of the one form of people who have no session yet, whose
    /// origin is all that can be looked at.
    pub fn sign_in_form(&mut self) -> &mut Self {
        self.0.push_str("<form class=\"card narrow\" method=\"post\" action=\"/login\">");
        self
    }

    /// The beginning of a form that only asks for a page.
    pub fn search_form(&mut self, to: &Href) -> &mut Self {
        self.0.push_str("<form method=\"get\" role=\"search\" action=\"");
        self.href(to).raw("\">")
    }

    /// Anybody's text, fit for an element's content and for a quoted attribute.
    pub fn text(&mut self, text: &str) -> &mut Self {
        escape_into(&mut self.0, text);
        self
    }

    /// A number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.text(&number.to_string())
    }

    /// The value of an `href` or `action`.
    pub fn href(&mut self, href: &Href) -> &mut Self {
        self.add(&href.0)
    }

    /// A piece made before.
    pub fn add(&mut self, piece: &Html) -> &mut Self {
        self.0.push_str(&piece.0);
        self
    }

    /// A link, its text isolated from the direction of what surrounds it.
    pub fn link(&mut self, href: &Href, text: &str) -> &mut Self {
        self.raw("<a href=\"").href(href).raw("\"><bdi>").text(text).raw("</bdi></a>")
    }

    /// Is there anything in it?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole as text, with the token of this session in its forms.
    pub fn into_page(self, form_token: &str) -> String {
        let mut field = Self::new();
        field.raw("<input type=\"hidden\" name=\"form_token\" value=\"").text(form_token).raw("\">");
        self.0.replace(TOKEN_PLACE, &field.0)
    }

    /// The whole as text, its forms without a token.
    #[cfg(test)]
    pub fn into_string(self) -> String {
        self.0.replace(TOKEN_PLACE, "")
    }
}

/// An address that is safe as the value of an `href` or `action`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Href(Html);

impl Href {
    /// `/` and the segments, each percent-encoded.
    pub fn local(segments: &[&str]) -> Self {
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            for byte in segment.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
                    other => {
                        path.push('%');
                        path.push(hex_digit(other >> 4));
                        path.push(hex_digit(other & 15));
                    }
                }
            }
        }
        if path.is_empty() {
            path.push('/');
        }
        Self(Html::of(&path))
    }

    /// The same with a query's field, its value percent-encoded.
    pub fn with(self, field: &'static str, value: &str) -> Self {
        let mut whole = self.0;
        whole.raw(if whole.0.contains('?') { "&amp;" } else { "?" }).raw(field).raw("=");
        // A value is encoded as a segment is; only its slash is not wanted.
        whole.0.push_str(Self::local(&[value]).0.0.trim_start_matches('/'));
        Self(whole)
    }

    /// The part of the same page with this id.
    pub fn within(segments: &[&str]) -> Self {
        Self(Html::new()).at(segments)
    }

    /// The part with this id of the page.
    pub fn at(self, segments: &[&str]) -> Self {
        let id = Self::local(segments).0.0;
        Self(Html(format!("{}#{}", self.0.0, id.trim_start_matches('/'))))
    }

    /// Somebody's address, if it is one of the web; `javascript:` and the like are not.
    pub fn web(address: &str) -> Option<Self> {
        (address.starts_with("https://") || address.starts_with("http://")).then(|| Self(Html::of(address)))
    }
}

fn hex_digit(half: u8) -> char {
    char::from_digit(u32::from(half), 16).unwrap_or('0').to_ascii_uppercase()
}

/// Escapes what means something to HTML, and drops what a page cannot show or
/// what reorders the text around it: controls but tab and newline, and the
/// bidirectional controls (CVE-2021-42574).
fn escape_into(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some((plain, special, tail)) = split_at_special(rest) {
        out.push_str(plain);
        match special {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => {} // dropped
        }
        rest = tail;
    }
    out.push_str(rest);
}

/// What comes before the first special character, that character, and the rest.
fn split_at_special(text: &str) -> Option<(&str, char, &str)> {
    let (plain, tail) = text.split_at_checked(text.find(is_special)?)?;
    let mut chars = tail.chars();
    let special = chars.next()?;
    Some((plain, special, chars.as_str()))
}

fn is_special(c: char) -> bool {
    match c {
        '&' | '<' | '>' | '"' | '\'' => true,
        '\t' | '\n' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_escaped_and_literals_are_not() {
        let mut html = Html::new();
        html.raw("<b>").text("<i> & \"quoted\" 'too'").raw("</b>");
        assert_eq!(html.into_string(), "<b>&lt;i&gt; &amp; &quot;quoted&quot; &#39;too&#39;</b>");
    }

    #[test]
    fn a_form_has_the_token_of_its_page_and_no_other_way_begins_one() {
        let mut html = Html::new();
        html.form(&Href::local(&["jobs", "7", "cancel"])).raw("</form>");
        let page = html.clone().into_page("\"7&");
        assert_eq!(page, "<form method=\"post\" action=\"/jobs/7/cancel\"><input type=\"hidden\" name=\"form_token\" value=\"&quot;7&amp;\"></form>");
        assert!(std::panic::catch_unwind(|| Html::new().raw("<form>").is_empty()).is_err());
    }

    #[test]
    fn a_query_is_encoded() {
        let href = Href::local(&["audit"]).with("search", "a b&/\"c").with("before", "7");
        assert_eq!(href.0.into_string(), "/audit?search=a%20b%26%2F%22c&amp;before=7");
    }

    #[test]
    fn controls_go_and_words_in_any_script_stay() {
        assert_eq!(Html::of("a\0b\u{1b}[31m\r\u{85}\u{202e}c\td\n").into_string(), "ab[31mc\td\n");
        assert_eq!(Html::of("שלום 🚀 ünïcode").into_string(), "שלום 🚀 ünïcode");
    }

    #[test]
    fn local_addresses_stay_local() {
        let path = |segments: &[&str]| Href::local(segments).0.into_string();
        assert_eq!(path(&[]), "/");
        assert_eq!(path(&["projects", "attic", "my-app.v2_x"]), "/projects/attic/my-app.v2_x");
        assert_eq!(path(&["runs", "../x?y#z\"><ü"]), "/runs/..%2Fx%3Fy%23z%22%3E%3C%C3%BC");
    }

    #[test]
    fn only_web_addresses_become_links() {
        for good in ["http://10.0.0.2:8000", "https://shop.example/?a=1&b=2"] {
            assert!(Href::web(good).is_some(), "{good}");
        }
        for bad in ["", "javascript:alert(1)", " https://x", "data:text/html,x", "//x", "127.0.0.1:8000", "httpss://x"]
        {
            assert!(Href::web(bad).is_none(), "{bad}");
        }
        assert_eq!(
            Href::web("https://x/\"onclick='y'").map(|h| h.0.into_string()).as_deref(),
            Some("https://x/&quot;onclick=&#39;y&#39;")
        );
    }

    /// What a browser would read back.
    fn unescape(html: &str) -> String {
        html.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&")
    }

    proptest! {
        #[test]
        fn nothing_that_html_understands_gets_through(text in "\\PC*|[<>&\"'a]{0,40}|[\\x00-\\x7f]{0,80}") {
            let out = Html::of(&text).into_string();
            prop_assert!(!out.contains(['<', '>', '"', '\'']));
            for (at, _) in out.match_indices('&') {
                let entity = &out[at..];
                prop_assert!(["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].iter().any(|known| entity.starts_with(known)));
            }
        }

        #[test]
        fn what_is_shown_is_what_was_given(text in "\\PC*|[<>&\"'a]{0,40}") {
            let kept: String = text.chars().filter(|c| !is_special(*c) || "&<>\"'".contains(*c)).collect();
            prop_assert_eq!(unescape(&Html::of(&text).into_string()), kept);
        }

        #[test]
        fn no_text_makes_a_place_for_a_token(text in "[\\x00-\\x7f]{0,80}") {
            let page = Html::of(&text).into_page("secret");
            prop_assert!(!page.contains("form_token"), "{}", page);
        }

        #[test]
        fn a_local_address_is_made_of_safe_characters(name in "\\PC*") {
            let path = Href::local(&["runs", &name]).0.into_string();
            prop_assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/%-._~".contains(&b)), "{}", path);
            prop_assert_eq!(path.matches('/').count(), 2);
        }
    }
}
