//! What everything uses, from the hosts to the pages that show it.
//!
//! A page asks by its socket while it is open; every host that can say it does,
//! for a while. Invariant: nothing of it is stored, and nobody is asked while no
//! page shows it.

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::{MEASURE_VERSION, ToExecutor, UsedView};
use serde::Serialize;
use worker::{Result, WebSocket, console_error};

use super::Hub;
use super::sockets::{Attachment, PAGE, attach, frame, version_of};
use crate::platform::now;
use crate::view::UsedRow;

/// What a page is told.
#[derive(Serialize)]
struct Told<'a> {
    used: Of<'a>,
}

#[derive(Serialize)]
struct Of<'a> {
    host: &'a Name,
    round_trip_ms: Option<u32>,
    used: &'a [UsedView],
}

impl Hub {
    /// A page shows what is used.
    pub(super) fn page_measures(&self, page: &WebSocket, known: Attachment) -> Result<()> {
        if !known.measures {
            attach(page, &Attachment { measures: true, ..known })?;
        }
        for (_, peer) in self.all_peers() {
            if version_of(&peer) >= MEASURE_VERSION {
                frame(&peer.ws, &ToExecutor::Measure);
            }
        }
        Ok(())
    }

    /// What a project used lately.
    pub(super) fn used_of(&self, host: &Name, project: &Name) -> Vec<UsedRow> {
        self.measured.borrow().get(host).map_or_else(Vec::new, |used| used.of(now(), project))
    }

    /// A host says what is used there.
    pub(super) fn used(&self, host: &Name, round_trip_ms: Option<u32>, used: &[UsedView]) {
        self.measured.borrow_mut().entry(host.clone()).or_default().add(now(), round_trip_ms, used);
        let told = Told { used: Of { host, round_trip_ms, used } };
        let text = match serde_json::to_string(&told) {
            Ok(text) => text,
            Err(fault) => return console_error!("what is used cannot be told: {fault}"),
        };
        for (page, _) in self.open(PAGE).filter(|(_, attachment)| attachment.measures) {
            let _ = page.send_with_str(&text);
        }
    }
}
