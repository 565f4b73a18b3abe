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
}

#[cfg(feature = "planted-bugs")]
impl Bug {
    /// Every known bug.
    pub const ALL: [Self; 14] = [
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
