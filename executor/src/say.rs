//! What verbs print. A reader that went away (`| head`) ends nothing: the verb
//! goes on, and its exit code still tells how that ended.

/// `println!` that does not mind a reader that went away.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}
