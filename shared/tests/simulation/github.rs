//! GitHub: branch heads that advance, and one POST for each push, which may
//! be lost, late, doubled or overtaken. GitHub never tries again by itself;
//! a person sometimes redelivers.

use super::branch::Head;
use super::coverage::Seen;
use super::stage::Event;
use super::world::{Delivery, World};

impl World {
    /// Somebody pushes, and will push again.
    pub fn push(&mut self) {
        if self.is_healed() {
            return;
        }
        let repo = self.stage.rng.index(self.stage.branches.len());
        let head = self.advance(repo);
        self.stage.trace(|| format!("push {head:?} to repository {repo}"));
        let guid = self.deliveries.len();
        self.deliveries.push(Delivery { repo, moment: head.moment, accepted: false });
        self.announce(guid);
        let pause_ms = if self.stage.chance(3_000) { 1_500 } else { 60_000 };
        let pause_ms = self.stage.rng.between(500, pause_ms);
        self.stage.after_ms(pause_ms, Event::Push);
    }

    /// The branch moves on, now and then to another history or an older commit.
    fn advance(&mut self, repo: usize) -> Head {
        let forced = self.stage.chance(self.stage.rates.force_push);
        let last = self.stage.branches[repo].head().moment;
        if forced && self.stage.chance(5_000) {
            self.stage.saw(Seen::PushesBack);
            let moment = self.stage.rng.between(1, last);
            return self.stage.branches[repo].push_back_to(moment);
        }
        self.stage.saw(if forced { Seen::ForcePushes } else { Seen::Pushes });
        self.stage.branches[repo].push()
    }

    fn announce(&mut self, guid: usize) {
        if self.stage.chance(self.stage.rates.webhook_lost) {
            self.stage.saw(Seen::LostWebhooks);
        } else {
            self.send_post(guid, 20, 1_500);
        }
        if self.stage.chance(self.stage.rates.webhook_twice) {
            self.send_post(guid, 20, 60_000);
        }
    }

    fn send_post(&mut self, guid: usize, low_ms: u64, high_ms: u64) {
        let late_ms = if self.stage.chance(self.stage.rates.webhook_late) { self.stage.rng.below(120_000) } else { 0 };
        let ms = self.stage.rng.between(low_ms, high_ms) + late_ms;
        self.posts_under_way += 1;
        self.stage.after_ms(ms, Event::Webhook { guid });
    }

    /// A POST reaches the hub.
    pub fn webhook(&mut self, guid: usize) {
        self.posts_under_way -= 1;
        let repo = self.deliveries[guid].repo;
        let moment = self.deliveries[guid].moment;
        if self.heard[repo] > moment {
            self.stage.saw(Seen::Reordered);
        }
        self.heard[repo] = self.heard[repo].max(moment);
        if self.hub.deliver(&mut self.stage, &mut self.wire, guid, repo) {
            self.deliveries[guid].accepted = true;
            let stored = self.hub.jobs_of(guid).is_some();
            self.stage.check(stored, || format!("GitHub was told that delivery {guid} is stored, and it is not"));
        }
    }

    /// A person looks at GitHub's list of deliveries and sends one again.
    pub fn redeliver(&mut self) {
        if !self.deliveries.is_empty() {
            let guid = self.stage.rng.index(self.deliveries.len());
            self.send_post(guid, 20, 1_500);
        }
    }
}
