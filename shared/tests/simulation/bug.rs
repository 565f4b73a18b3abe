//! What a world can be made to do wrong, so that a test can see it caught.

use doorstep_shared::link::Link;
#[cfg(feature = "planted-bugs")]
use doorstep_shared::link::LinkBug;
use doorstep_shared::queue::Queue;
#[cfg(feature = "planted-bugs")]
use doorstep_shared::queue::QueueBug;

/// At most one wrong rule in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// All as it should be.
    None,
    /// The shells of this model are wrong.
    Model(ModelBug),
    /// The hub's engine is wrong.
    #[cfg(feature = "planted-bugs")]
    Queue(QueueBug),
    /// The executor's engine is wrong.
    #[cfg(feature = "planted-bugs")]
    Link(LinkBug),
}

/// Mistakes that a shell can make with right engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelBug {
    /// A delivery that was seen before makes jobs again.
    GuidForgotten,
    /// GitHub is answered before the rows are written.
    AnsweredBeforeWritten,
    /// A grant is carried out without a row in the journal.
    GrantNotJournaled,
    /// A report past a gap is stored and acknowledged.
    GapAcknowledged,
    /// A frame whose turn failed is dropped and its socket is kept.
    SocketKept,
    /// The journal is not synced: its last write is gone after a power cut.
    NotSynced,
    /// The link `current` is removed and made anew.
    UnlinkThenSymlink,
    /// The previous release goes before the next one succeeded.
    PreviousPruned,
    /// What a deploy came to is forgotten: it is behind for ever.
    ConcludedForgotten,
    /// A commit that is known to be bad is tried again.
    QuarantineIgnored,
    /// Nobody counts how often a run killed its daemon.
    PoisonForgotten,
    /// The hub forgets with its memory which hosts are parked.
    ParkedForgotten,
    /// A host that has room again does not say so.
    RoomUntold,
    /// What is deployed is the commit that the push named, not the head.
    HintFollowed,
    /// A release that fails after the switch stays.
    RollbackForgotten,
    /// The older socket of a host is kept beside the newer one.
    OlderSocketKept,
    /// Hosts compare nothing: what no webhook told of is never known.
    ReconcileUnasked,
}

#[cfg(feature = "planted-bugs")]
impl Bug {
    /// Every known bug.
    pub const ALL: [Self; 31] = [
        Self::Queue(QueueBug::FenceIgnored),
        Self::Queue(QueueBug::TwoAtOnce),
        Self::Queue(QueueBug::LeaseEndless),
        Self::Queue(QueueBug::SupersedeForgotten),
        Self::Queue(QueueBug::GrantNotSaved),
        Self::Queue(QueueBug::RetryLost),
        Self::Queue(QueueBug::ReviveKeepsFence),
        Self::Queue(QueueBug::ParkedGranted),
        Self::Queue(QueueBug::RunEndless),
        Self::Queue(QueueBug::GraceEndless),
        Self::Link(LinkBug::OutboxDropped),
        Self::Link(LinkBug::SilenceBelieved),
        Self::Link(LinkBug::ForgetEarly),
        Self::Link(LinkBug::OutrunBelieved),
        Self::Model(ModelBug::GuidForgotten),
        Self::Model(ModelBug::AnsweredBeforeWritten),
        Self::Model(ModelBug::GrantNotJournaled),
        Self::Model(ModelBug::GapAcknowledged),
        Self::Model(ModelBug::SocketKept),
        Self::Model(ModelBug::NotSynced),
        Self::Model(ModelBug::UnlinkThenSymlink),
        Self::Model(ModelBug::PreviousPruned),
        Self::Model(ModelBug::ConcludedForgotten),
        Self::Model(ModelBug::QuarantineIgnored),
        Self::Model(ModelBug::PoisonForgotten),
        Self::Model(ModelBug::ParkedForgotten),
        Self::Model(ModelBug::RoomUntold),
        Self::Model(ModelBug::ReconcileUnasked),
        Self::Model(ModelBug::HintFollowed),
        Self::Model(ModelBug::RollbackForgotten),
        Self::Model(ModelBug::OlderSocketKept),
    ];

    /// Those that show in the small model, which has no person who revives, no
    /// full disk, no six hours of a run and no files.
    #[allow(dead_code, reason = "the simulation has a larger world")]
    pub const OF_THE_MODEL: [Self; 17] = [
        Self::Queue(QueueBug::FenceIgnored),
        Self::Queue(QueueBug::TwoAtOnce),
        Self::Queue(QueueBug::LeaseEndless),
        Self::Queue(QueueBug::SupersedeForgotten),
        Self::Queue(QueueBug::GrantNotSaved),
        Self::Queue(QueueBug::RetryLost),
        Self::Link(LinkBug::OutboxDropped),
        Self::Link(LinkBug::SilenceBelieved),
        Self::Link(LinkBug::ForgetEarly),
        Self::Model(ModelBug::GuidForgotten),
        Self::Model(ModelBug::AnsweredBeforeWritten),
        Self::Model(ModelBug::GrantNotJournaled),
        Self::Model(ModelBug::GapAcknowledged),
        Self::Model(ModelBug::SocketKept),
        Self::Model(ModelBug::HintFollowed),
        Self::Model(ModelBug::RollbackForgotten),
        Self::Model(ModelBug::OlderSocketKept),
    ];

    /// Makes a queue wrong, if the bug is one of the queue's.
    pub fn plant_in_queue(self, mut queue: Queue) -> Queue {
        if let Self::Queue(bug) = self {
            queue.plant(bug);
        }
        queue
    }

    /// Makes a link wrong, if the bug is one of the link's.
    pub fn plant_in_link(self, mut link: Link) -> Link {
        if let Self::Link(bug) = self {
            link.plant(bug);
        }
        link
    }
}

#[cfg(not(feature = "planted-bugs"))]
impl Bug {
    pub fn plant_in_queue(self, queue: Queue) -> Queue {
        queue
    }

    pub fn plant_in_link(self, link: Link) -> Link {
        link
    }
}
