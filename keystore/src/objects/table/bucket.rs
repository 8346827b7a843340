//! The objects that share one value of an indexed attribute, in the order of creation: a short list for ids and labels, a tree
//! for classes and key types, where a list would make each removal a long move.

use std::collections::BTreeMap;
use std::sync::Arc;

use hsmd_proto::ids::UniqueId;

use crate::objects::object::Object;

/// Longest list before it becomes a tree.
const LIST: usize = 32;

/// The order of creation; ids break ties between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order(u64, UniqueId);

impl Order {
    pub(super) fn of(object: &Object) -> Self {
        Self(object.sequence, object.id)
    }
}

pub(super) enum Bucket {
    List(Vec<(Order, Arc<Object>)>),
    Tree(BTreeMap<Order, Arc<Object>>),
}

impl Default for Bucket {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Bucket {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Tree(tree) => tree.len(),
        }
    }

    pub(super) fn insert(&mut self, order: Order, object: Arc<Object>) {
        match self {
            Self::List(list) => match list.binary_search_by_key(&order, |(order, _)| *order) {
                Ok(at) => list[at].1 = object,
                Err(at) => {
                    list.insert(at, (order, object));
                    if list.len() > LIST {
                        *self = Self::Tree(std::mem::take(list).into_iter().collect());
                    }
                }
            },
            Self::Tree(tree) => {
                tree.insert(order, object);
            }
        }
    }

    pub(super) fn remove(&mut self, order: Order) {
        match self {
            Self::List(list) => list.retain(|(other, _)| *other != order),
            Self::Tree(tree) => {
                tree.remove(&order);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        let (list, tree) = match self {
            Self::List(list) => (Some(list.iter().map(|(_, object)| object)), None),
            Self::Tree(tree) => (None, Some(tree.values())),
        };
        list.into_iter().flatten().chain(tree.into_iter().flatten())
    }
}
