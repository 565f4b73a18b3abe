//! What apps print, from their hosts to the pages that show it.
//!
//! A page asks by its socket, again and again while it is open; the question
//! goes on to the host, whose own file says whether it answers. Invariant: a
//! page is sent the output of the one project that it asked for, while its session
//! goes on, and nothing of it is stored.

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::ToExecutor;
use doorstep_shared::text::clean_line;
use serde::{Deserialize, Serialize};
use worker::{Result, WebSocket, console_error};

use super::Hub;
use super::sockets::{Attachment, PAGE, attach, frame, version_of};

/// Longest message of a page: two names and a word.
const PAGE_BYTES_MAX: usize = 512;
/// The version of the protocol that has this.
const VERSION: u16 = 2;

/// What a page says.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    watch: Option<Watch>,
    /// It shows what is used.
    #[serde(default)]
    measure: bool,
}

#[derive(Deserialize)]
struct Watch {
    host: Name,
    project: Name,
    #[serde(default)]
    tail: bool,
}

/// What a page is told.
#[derive(Serialize)]
struct Told<'a> {
    printed: Printed<'a>,
}

#[derive(Serialize)]
struct Printed<'a> {
    host: &'a Name,
    project: &'a Name,
    first: bool,
    lines: Vec<String>,
}

impl Hub {
    /// A page said something. What is not understood comes from a page of
    /// another version, and is nothing to it.
    pub(super) fn page_said(&self, page: &WebSocket, known: Attachment, message: &str) -> Result<()> {
        if message.len() > PAGE_BYTES_MAX {
            return Ok(());
        }
        let Ok(Said { watch, measure }) = serde_json::from_str(message) else { return Ok(()) };
        if !known.session.as_deref().map_or(Ok(false), |session| self.goes_on(session))? {
            return self.cut_ended_pages();
        }
        if measure {
            self.page_measures(page, known.clone())?;
        }
        let Some(Watch { host, project, tail }) = watch else { return Ok(()) };
        let watched = Some((host.clone(), project.clone()));
        if known.watches != watched {
            attach(page, &Attachment { watches: watched, measures: known.measures || measure, ..known })?;
        }
        if let Some(peer) = self.peer(&host).filter(|peer| version_of(peer) >= VERSION) {
            frame(&peer.ws, &ToExecutor::Watch { project, tail });
        }
        Ok(())
    }

    /// A host showed what an app printed.
    pub(super) fn printed(&self, of: &(Name, Name), first: bool, lines: &[String]) {
        // Its host cleaned them, if it is the program that it says it is.
        let lines = lines.iter().map(|line| clean_line(line)).collect();
        let told = Told { printed: Printed { host: &of.0, project: &of.1, first, lines } };
        let text = match serde_json::to_string(&told) {
            Ok(text) => text,
            Err(fault) => return console_error!("what was printed cannot be told: {fault}"),
        };
        for (page, _) in self.open(PAGE).filter(|(_, attachment)| attachment.watches.as_ref() == Some(of)) {
            let _ = page.send_with_str(&text);
        }
    }
}
