//! Who is signed in: sessions that begin, go on and end.
//!
//! Invariant: a page's socket is open only as long as its session goes on, and a
//! password is compared only when [`throttle`](crate::throttle) lets this
//! address try. Comparing and counting are one turn without an `await`, so that
//! tries which come at once are counted one after the other.

use worker::{Response, Result, console_error};

use super::sockets::PAGE;
use super::{Hub, turn::Turn};
use crate::asker::{Asker, Who, handle};
use crate::audit::{Deed, refused};
use crate::call::{Attempt, Client};
use crate::platform::now;
use crate::session::{SESSIONS_MAX, Times, same_secret};
use crate::store::{Row, Statement, number, text};
use crate::throttle::{ALL, OF_ADDRESS, OF_ALL, Tries, seconds};
use crate::view::SessionRow;
use crate::{reply, session};
use doorstep_shared::time::Timestamp;

/// The code of a page's socket whose session has ended.
const SIGNED_OUT: u16 = 4001;

impl Hub {
    /// May this asker have what is not open to everybody? That a session is used
    /// is written now and then.
    pub(super) fn admits(&self, by: &Asker) -> Result<bool> {
        let hash = match &by.who {
            Who::Bearer => return Ok(true),
            Who::Nobody => return Ok(false),
            Who::Session(hash) => hash,
        };
        let now = now();
        let Some(times) = self.times_of(hash)?.filter(|times| times.goes_on(now)) else { return Ok(false) };
        if times.is_to_be_seen(now) {
            let seen = Statement::new(
                "UPDATE sessions SET seen = ?, address = ?, agent = ? WHERE hash = ?",
                [number(now.0), text(&by.address), text(&by.agent), text(hash)],
            );
            if let Err(fault) = self.store()?.commit(vec![seen]) {
                // It ends a little early then.
                console_error!("that a session is used was not written: {fault}");
            }
        }
        Ok(true)
    }

    fn times_of(&self, hash: &str) -> Result<Option<Times>> {
        let rows = self.store()?.rows("SELECT seen, ends FROM sessions WHERE hash = ?", [text(hash)])?;
        Ok(rows.first().map(|row| times(row, 0)))
    }

    /// Does the session of a page's socket go on?
    pub(super) fn goes_on(&self, hash: &str) -> Result<bool> {
        Ok(self.times_of(hash)?.is_some_and(|times| times.goes_on(now())))
    }

    /// Somebody tries to sign in: 204, 401, or 429 with `Retry-After`.
    pub(super) async fn sign_in(&self, by: &Asker, attempt: Attempt) -> Result<Response> {
        let (whose, now) = (by.counted_as(), now());
        // Whoever was signed in once does not wait for strangers.
        let is_known = by.session().is_some();
        let of_address = self.tries(&whose)?;
        let of_all = if is_known { Tries::default() } else { self.tries(ALL)? };
        let wait_ms = OF_ADDRESS.wait_ms(of_address, now).max(OF_ALL.wait_ms(of_all, now));
        let deed = Deed::new("sign_in", "");
        if wait_ms > 0 {
            self.note_refusal(by, &deed, "too_many_tries").await?;
            let response = Response::empty()?.with_status(429);
            response.headers().set("retry-after", &seconds(wait_ms).to_string())?;
            return Ok(response);
        }
        if !same_secret(&attempt.expected, &attempt.given) {
            let is_noted = self.was_refused_lately(by, &deed)?;
            self.turn(|memory, turn| {
                turn.write(save_tries(&whose, OF_ADDRESS.after_wrong(of_address, turn.now)));
                if !is_known {
                    turn.write(save_tries(ALL, OF_ALL.after_wrong(of_all, turn.now)));
                }
                if !is_noted {
                    turn.audit(memory, by, &deed, &refused("wrong_password"));
                }
                Ok(())
            })
            .await?;
            return Ok(Response::empty()?.with_status(401));
        }
        self.begin(by, &whose, &attempt.session).await?;
        Ok(Response::empty()?.with_status(204))
    }

    async fn begin(&self, by: &Asker, whose: &str, hash: &str) -> Result<()> {
        self.turn(|memory, turn| {
            let begun = Asker { who: Who::Session(hash.to_owned()), ..by.clone() };
            let times = Times::new(turn.now);
            turn.write(Statement::new("DELETE FROM tries WHERE who = ?", [text(whose)]));
            // The one that this browser had until now.
            if let Some(earlier) = by.session() {
                turn.write(Statement::new("DELETE FROM sessions WHERE hash = ?", [text(earlier)]));
            }
            turn.write(Statement::new(
                "INSERT INTO sessions (hash, created, seen, ends, address, agent) VALUES (?, ?, ?, ?, ?, ?)",
                [text(hash), number(turn.now.0), number(times.seen.0), number(times.ends.0), text(&by.address), text(&by.agent)],
            ));
            turn.write(Statement::new(
                "DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions ORDER BY created DESC, hash LIMIT -1 OFFSET ?)",
                [number(SESSIONS_MAX)],
            ));
            turn.audit(memory, &begun, &Deed::new("sign_in", ""), "signed in");
            turn.changed();
            Ok(())
        })
        .await?;
        self.cut_ended_pages()
    }

    fn tries(&self, who: &str) -> Result<Tries> {
        let rows = self.store()?.rows("SELECT count, last, ends FROM tries WHERE who = ?", [text(who)])?;
        let read = |row: &Row| Tries { wrong: row.number(0), last: Timestamp(row.number(1)), ends: Timestamp(row.number(2)) };
        Ok(rows.first().map(read).unwrap_or_default())
    }

    /// The session that asks ends.
    pub(super) async fn sign_out(&self, by: &Asker) -> Result<Response> {
        let hash = by.session().unwrap_or_default().to_owned();
        let ends = move |turn: &mut Turn| turn.write(Statement::new("DELETE FROM sessions WHERE hash = ?", [text(hash)]));
        self.end(by, &Deed::new("sign_out", ""), "signed out", ends).await?;
        Ok(Response::empty()?.with_status(204))
    }

    /// All end.
    pub(super) async fn end_all_sessions(&self, by: &Asker) -> Result<Response> {
        let ends = |turn: &mut Turn| turn.write(Statement::new("DELETE FROM sessions", []));
        self.end(by, &Deed::new("sign_out_everywhere", ""), "signed out", ends).await?;
        Ok(Response::empty()?.with_status(204))
    }

    /// One of them ends, perhaps the one that asks.
    pub(super) async fn end_session(&self, by: &Asker, named: &str, client: Client) -> Result<Response> {
        let deed = Deed::new("end_session", named);
        let is_it = |row: &SessionRow| row.handle == named;
        if !self.sessions(by)?.iter().any(is_it) {
            let no = (404, "not_found", "no session of this name goes on".to_owned());
            return self.refuse(by, &deed, client, no).await;
        }
        let of = format!("{named}%");
        let ends = move |turn: &mut Turn| turn.write(Statement::new("DELETE FROM sessions WHERE hash LIKE ?", [text(of)]));
        self.end(by, &deed, "ended", ends).await?;
        match client {
            Client::Api => reply::json(200, &serde_json::json!({"ended": named})),
            Client::Page => reply::redirect("/settings", None),
        }
    }

    async fn end(&self, by: &Asker, deed: &Deed, result: &str, ends: impl FnOnce(&mut Turn)) -> Result<()> {
        self.turn(|memory, turn| {
            ends(turn);
            turn.audit(memory, by, deed, result);
            turn.changed();
            Ok(())
        })
        .await?;
        self.cut_ended_pages()
    }

    /// Everybody who is signed in, the newest first.
    pub(super) fn sessions(&self, by: &Asker) -> Result<Vec<SessionRow>> {
        let now = now();
        let rows = self.store()?.rows("SELECT seen, ends, hash, created, address, agent FROM sessions ORDER BY created DESC, hash", [])?;
        let going_on = rows.iter().filter(|row| times(row, 0).goes_on(now));
        let shown = |row: &Row| SessionRow {
            handle: handle(row.text(2)).to_owned(),
            created: Timestamp(row.number(3)),
            seen: Timestamp(row.number(0)),
            ends: Timestamp(row.number(1)),
            address: row.text(4).to_owned(),
            agent: row.text(5).to_owned(),
            is_this: by.session() == Some(row.text(2)),
        };
        Ok(going_on.map(shown).collect())
    }

    /// Closes the sockets of pages whose session has ended.
    pub(super) fn cut_ended_pages(&self) -> Result<()> {
        let now = now();
        let rows = self.store()?.rows("SELECT seen, ends, hash FROM sessions", [])?;
        let goes_on = |hash: &str| rows.iter().any(|row| row.text(2) == hash && times(row, 0).goes_on(now));
        for (page, attachment) in self.open(PAGE) {
            if !attachment.session.as_deref().is_some_and(goes_on) {
                let _ = page.close(Some(SIGNED_OUT), Some("signed out"));
            }
        }
        Ok(())
    }

    /// Removes the rows of sessions that have ended.
    pub(super) fn clean_sessions(&self) -> Result<()> {
        let now = now();
        self.store()?.commit(vec![Statement::new(
            "DELETE FROM sessions WHERE ends <= ? OR seen <= ?",
            [number(now.0), number(now.0.saturating_sub(session::IDLE_MS))],
        )])?;
        self.cut_ended_pages()
    }
}

/// Times of a row that begins with them at this column.
fn times(row: &Row, at: usize) -> Times {
    Times { seen: Timestamp(row.number(at)), ends: Timestamp(row.number(at + 1)) }
}

fn save_tries(who: &str, tries: Tries) -> Statement {
    Statement::new(
        "INSERT OR REPLACE INTO tries (who, count, last, ends) VALUES (?, ?, ?, ?)",
        [text(who), number(tries.wrong), number(tries.last.0), number(tries.ends.0)],
    )
}
