//! What is tried: which run, of which kind of app, cut where, at which edge.

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Good,
    Sick,
    /// Well, until it has been switched to.
    Sour,
    Restart,
    StopAndStart,
    /// A good one, and back from it.
    Rollback,
}

/// What runs the app, and how a release takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Beside the old one, behind the proxy.
    Proxied,
    /// The old one is stopped first.
    Instead,
    /// A unit of systemd.
    Unit,
}

/// Where the link leads when the daemon is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Same,
    Restarted,
    Gone,
}

#[derive(Clone, Debug)]
pub struct Case {
    pub scenario: Scenario,
    /// `label#n:before` or `label#n:after`.
    pub point: String,
    pub at: At,
}

impl At {
    pub const ALL: [Self; 3] = [Self::Same, Self::Restarted, Self::Gone];
}

impl Scenario {
    pub const ALL: [Self; 6] = [Self::Good, Self::Sick, Self::Sour, Self::Restart, Self::StopAndStart, Self::Rollback];
}

impl Scenario {
    pub fn asks(self) -> usize {
        match self {
            Self::Good | Self::Sick | Self::Sour | Self::Restart => 1,
            Self::StopAndStart | Self::Rollback => 2,
        }
    }
}

pub fn name(place: Place, case: &Case) -> String {
    format!("{:?} {place:?}, edge {:?}, killed at {}", case.scenario, case.at, case.point)
}
