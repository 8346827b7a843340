//! Who acts and where: known to whoever serves the request, needed deep below it. A thread serves one request at a time, so the
//! scene belongs to the thread; nothing is looked up or copied until an act is recorded. Without a scene the daemon itself acts.

use std::cell::RefCell;
use std::sync::Arc;

use super::act::Act;
use super::event::{Event, Who};

/// Where an act happens, as administrators name it; empty where unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// `hsm-xxxxxxxx`.
    pub hsm: String,
    /// The partition's serial number.
    pub partition: String,
}

/// What is known of the request that a thread serves.
pub trait Scene: Send + Sync {
    /// Who asks.
    fn who(&self) -> Who;

    /// What is asked to act.
    fn place(&self) -> Place {
        Place::default()
    }

    /// The record of a batch of control-plane documents of these names; `None`: the request has its record already.
    fn documents(&self, names: &[&str]) -> Option<Event> {
        Some(Event::new(Act::RecordsChange).about(names))
    }

    /// The record of [`Scene::documents`] is durable.
    fn recorded(&self) {}
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<dyn Scene>>> = const { RefCell::new(None) };
}

/// Puts the former scene back, also when the work panics.
struct Restore(Option<Arc<dyn Scene>>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.replace(self.0.take());
    }
}

/// Runs `work` in a scene.
pub fn within<T>(scene: Arc<dyn Scene>, work: impl FnOnce() -> T) -> T {
    let _restore = Restore(CURRENT.replace(Some(scene)));
    work()
}

/// A scene that knows where, too.
struct Placed {
    scene: Option<Arc<dyn Scene>>,
    place: Place,
}

impl Scene for Placed {
    fn who(&self) -> Who {
        self.scene.as_ref().map_or(Who::Node, |scene| scene.who())
    }

    fn place(&self) -> Place {
        self.place.clone()
    }

    fn documents(&self, names: &[&str]) -> Option<Event> {
        match &self.scene {
            Some(scene) => scene.documents(names),
            None => Some(Event::new(Act::RecordsChange).about(names)),
        }
    }

    fn recorded(&self) {
        if let Some(scene) = &self.scene {
            scene.recorded();
        }
    }
}

/// Runs `work` in the scene of this thread, at a place: for requests that name it in their text.
pub fn at<T>(place: Place, work: impl FnOnce() -> T) -> T {
    let scene = current();
    within(Arc::new(Placed { scene, place }), work)
}

/// The scene of this thread.
#[must_use]
pub fn current() -> Option<Arc<dyn Scene>> {
    CURRENT.with_borrow(Clone::clone)
}
