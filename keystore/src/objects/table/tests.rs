//! The table against a plain list: the same objects in any order of applying, and found with indexes as without.

use std::collections::BTreeMap;

use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::ObjectClass;
use proptest::prelude::*;

use super::*;
use crate::objects::object::{Origin, Parts, Values};
use crate::objects::record::Tombstone;
use crate::seal::FleetSecret;

fn latches() -> crate::objects::Latches {
    let keys = hsmd_store::StoreKeys::new([0; 32], [0; 32]);
    let store = hsmd_store::Store::memory(keys, hsmd_store::Limits::default());
    let barrier = crate::seal::Barrier::new(&[(1, hsmd_crypto::secret::SecretArray::new([2; 32]))]);
    let fleet = FleetSecret::new(hsmd_crypto::secret::SecretArray::new([1; 32]), Vec::new());
    crate::objects::Latches::open(&store, &barrier, &fleet)
}

/// Version `version` of object `number`: its label changes with the version.
fn object(latches: &crate::objects::Latches, number: u8, version: u64) -> Arc<Object> {
    let attributes = Template(vec![
        Attribute::ulong(A::CLASS, ObjectClass::DATA.0),
        Attribute::bytes(A::LABEL, &[number % 3, u8::try_from(version % 2).unwrap()]),
        Attribute::bytes(A::VALUE, &[number]),
    ]);
    let parts = Parts {
        id: UniqueId([number; 16]),
        version,
        sequence: u64::from(number),
        operation: OperationId([0; 16]),
        origin: Origin::default(),
        held: Default::default(),
        request: [0; 32],
        material: None,
        attributes: Arc::new(attributes),
        values: Arc::new(Values::default()),
        key: Arc::default(),
    };
    Arc::new(Object::new(parts, latches).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // Versions, not the order of applying, decide; a destroy is final.
    #[test]
    fn the_order_of_applying_does_not_matter(events in proptest::collection::vec((0..40u8, 1..6u64, any::<bool>()), 0..120)) {
        let latches = latches();
        let table = ObjectTable::new();
        let mut model: BTreeMap<u8, (u64, bool)> = BTreeMap::new();
        for (number, version, destroy) in events {
            // A version is either an object or a tombstone, never both.
            let destroy = destroy && version == 5;
            if destroy {
                let tombstone = Tombstone { id: UniqueId([number; 16]), operation: OperationId([0; 16]), destroyed: 0 };
                table.bury(&tombstone, version + 1);
            } else {
                table.apply(object(&latches, number, version));
            }
            let entry = model.entry(number).or_insert((0, false));
            *entry = (*entry).max((if destroy { version + 1 } else { version }, destroy));
        }
        let live = |label: Option<[u8; 2]>| -> Vec<UniqueId> {
            let fits = |(number, (version, dead)): (&u8, &(u64, bool))| {
                let is = [number % 3, u8::try_from(version % 2).unwrap()];
                (!dead && label.is_none_or(|label| label == is)).then_some(UniqueId([*number; 16]))
            };
            model.iter().filter_map(fits).collect()
        };
        let found = |wanted: &Template| -> Vec<UniqueId> {
            let hits = table.find(wanted, |_| true);
            hits.into_iter().map(|hit| hit.id).collect()
        };
        prop_assert_eq!(found(&Template::default()), live(None));
        for label in [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]] {
            let wanted = Template(vec![Attribute::bytes(A::LABEL, &label)]);
            prop_assert_eq!(found(&wanted), live(Some(label)));
            let both = Template(vec![Attribute::bytes(A::LABEL, &label), Attribute::ulong(A::CLASS, 0)]);
            prop_assert_eq!(found(&both), live(Some(label)));
        }
        prop_assert_eq!(table.len(), live(None).len());
        table.clear();
        prop_assert_eq!(table.len(), 0);
    }
}
