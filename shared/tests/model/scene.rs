//! A state while one step changes it: the wire, and the first broken rule.

use super::state::{Down, HubEnd, Rule, State, Up};
use crate::model::bug::{Bug, ModelBug};

pub struct Scene {
    pub state: State,
    pub bug: Bug,
}

impl Scene {
    pub fn bug_is(&self, bug: ModelBug) -> bool {
        self.bug == Bug::Model(bug)
    }

    pub fn check(&mut self, rule: Rule, holds: bool, how: impl FnOnce() -> String) {
        if !holds && self.state.broken.is_none() {
            self.state.broken = Some((rule, how()));
        }
    }

    pub fn broken(&mut self, verdict: Result<(), (Rule, String)>) {
        if let Err(broken) = verdict {
            self.state.broken.get_or_insert(broken);
        }
    }

    pub fn send_up(&mut self, frame: Up) {
        if let Some(conn) = self.state.conns.iter_mut().find(|conn| conn.host_open)
            && !conn.cut
            && conn.hub != HubEnd::Gone
        {
            conn.up.push(frame);
        }
    }

    pub fn send_down(&mut self, c: usize, frame: Down) {
        let conn = &mut self.state.conns[c];
        if conn.host_open && !conn.cut && matches!(conn.hub, HubEnd::Open | HubEnd::Peer { .. }) {
            conn.down.push(frame);
        }
    }

    pub fn cut(&mut self, c: usize) {
        self.state.conns[c].cut = true;
        self.sweep();
    }

    /// Drops what nobody will read, and the connections that both ends left.
    pub fn sweep(&mut self) {
        for conn in &mut self.state.conns {
            if conn.cut || conn.hub == HubEnd::Gone {
                conn.up.clear();
            }
            if conn.cut || !conn.host_open {
                conn.down.clear();
            }
        }
        self.state.conns.retain(|conn| conn.host_open || conn.hub != HubEnd::Gone);
    }
}
