//! What the worlds went through, so that a quiet simulation is not mistaken
//! for a right one.

use std::fmt;

macro_rules! seen {
    ($($variant:ident = $word:literal),+ $(,)?) => {
        /// Something that a world went through.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Seen { $($variant),+ }

        impl Seen {
            pub const ALL: &'static [Seen] = &[$(Seen::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Seen::$variant => $word),+ }
            }
        }
    };
}

seen! {
    Runs = "runs",
    LongLogs = "long logs",
    Crashes = "crashes",
    Resumes = "resumes",
    Reruns = "reruns",
    JournalsLost = "journals lost",
    SecondDaemons = "second daemons",
    Replacements = "replacements",
    Cuts = "cuts",
    BlackHoles = "black holes",
    Unreachable = "unreachable edges",
    Jumps = "clock jumps",
    Sleeps = "sleeps",
    Evictions = "evictions",
    HubCrashes = "hub crashes",
    FailedWrites = "failed writes",
    Gaps = "gaps",
    Pushes = "pushes",
    LostWebhooks = "lost webhooks",
    Duplicates = "duplicates",
    GrantsAgain = "duplicate grants",
    Expiries = "expiries",
    Graces = "graces",
    Supersedes = "supersedes",
    Retries = "retries",
    Burials = "burials",
    WornOut = "worn out",
    Cancels = "cancels",
    StaleOutcomes = "stale outcomes",
    Rollbacks = "rollbacks",
    ForcePushes = "force pushes",
    PushesBack = "pushes back",
    Reordered = "reordered webhooks",
    Behind = "behind",
    Reconciles = "reconciles",
    LocalRuns = "local runs",
    EdgeAway = "edge away",
    LiveAlready = "live already",
    FullDisks = "full disks",
    Parks = "parks",
    GrantsWithoutRoom = "grants without room",
    DiskFailures = "disk failures",
    PowerCuts = "power cuts",
    PutBack = "disks put back",
    Outruns = "outruns",
    StepsBack = "steps back",
    OldHubs = "old hubs",
    OldHosts = "old hosts",
    Revivals = "revivals",
    Kills = "kills",
    Poisoned = "poisoned",
    Quarantined = "quarantined",
    Hangs = "hangs",
    Endless = "endless runs",
}

/// How often each was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage([u64; Seen::ALL.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([0; Seen::ALL.len()])
    }
}

impl Coverage {
    pub fn add(&mut self, what: Seen) {
        self.0[what as usize] += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        Seen::ALL.iter().filter(|what| self.0[**what as usize] == 0).map(|what| what.as_str()).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            Seen::ALL.iter().map(|what| format!("{} {}", self.0[*what as usize], what.as_str())).collect();
        f.write_str(&parts.join(", "))
    }
}
