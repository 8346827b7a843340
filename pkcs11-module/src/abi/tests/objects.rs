//! Objects, attributes, searches.

use super::fake::{PIN, Reaction};
use super::{App, aes_template, data, good};
use crate::ops;
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, ObjectClass, Rv, UserType};

#[test]
fn session_objects_die_with_their_session_and_private_ones_at_logout() {
    let fake = good();
    let app = App::new(&fake);
    let (one, two) = (app.session(), app.session());
    assert_eq!(app.create(one, &data("p", false, true)), Err(Rv::USER_NOT_LOGGED_IN));
    app.login(one, UserType::USER, PIN).unwrap();
    let private = app.create(one, &data("p", false, true)).unwrap();
    let public = app.create(one, &data("q", false, false)).unwrap();
    assert_eq!(app.read(two, private, A::LABEL).unwrap(), b"p");
    assert_eq!(app.find(two, &Template::default()).unwrap(), [private, public]);
    ops::login::logout(&app.instance, two).unwrap();
    assert_eq!(app.read(two, private, A::LABEL), Err(Rv::OBJECT_HANDLE_INVALID));
    assert_eq!(app.find(two, &data("q", false, false)).unwrap(), [public]);
    ops::session::close(&app.instance, one).unwrap();
    assert_eq!(app.read(two, public, A::LABEL), Err(Rv::OBJECT_HANDLE_INVALID));
}

#[test]
fn the_handle_of_a_public_token_object_outlives_a_logout_however_little_is_known_of_it() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    app.login(session, UserType::USER, PIN).unwrap();
    for label in ["a", "b", "c"] {
        app.create(session, &data(label, true, label == "b")).unwrap();
    }
    // Another application, which only searches: of all but the first it knows nothing but the id.
    let other = App::new(&fake);
    let session = other.session();
    other.login(session, UserType::USER, PIN).unwrap();
    let found = other.find(session, &Template::default()).unwrap();
    let mut public = Vec::new();
    for handle in &found {
        if other.read(session, *handle, A::PRIVATE).unwrap() == [0] {
            public.push(*handle);
        }
    }
    assert_eq!((found.len(), public.len()), (3, 2));
    other
        .instance
        .session(session)
        .unwrap()
        .slot
        .objects
        .get(public[0])
        .unwrap()
        .forget();
    ops::login::logout(&other.instance, session).unwrap();
    for handle in found {
        let expected = if public.contains(&handle) {
            Ok(vec![0])
        } else {
            Err(Rv::OBJECT_HANDLE_INVALID)
        };
        assert_eq!(other.read(session, handle, A::PRIVATE), expected);
    }
    assert_eq!(other.find(session, &Template::default()).unwrap(), public);
}

#[test]
fn a_token_object_keeps_its_handle_and_a_search_skips_what_was_destroyed() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let handles: Vec<u64> = ["a", "b", "c"]
        .iter()
        .map(|label| app.create(session, &data(label, true, false)).unwrap())
        .collect();
    let raw = super::entries(&Template::default());
    // SAFETY: an empty template.
    let all = unsafe { crate::abi::template::RawTemplate::new(raw.as_ptr(), 0) };
    ops::find::init(&app.instance, session, &all).unwrap();
    assert_eq!(ops::find::init(&app.instance, session, &all), Err(Rv::OPERATION_ACTIVE));
    ops::object::destroy(&app.instance, session, handles[1]).unwrap();
    let mut found = app.find_next(session, 1).unwrap();
    found.extend(app.find_next(session, 9).unwrap());
    found.sort_unstable();
    assert_eq!(found, [handles[0], handles[2]]);
    assert_eq!(app.find_next(session, 9).unwrap(), []);
    ops::find::finish(&app.instance, session).unwrap();
    assert_eq!(
        ops::find::finish(&app.instance, session),
        Err(Rv::OPERATION_NOT_INITIALIZED)
    );
    assert_eq!(
        ops::object::destroy(&app.instance, session, handles[1]),
        Err(Rv::OBJECT_HANDLE_INVALID)
    );
}

#[test]
fn attributes_that_cannot_change_are_read_without_a_request() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    for _ in 0..50 {
        assert_eq!(
            app.read(session, key, A::CLASS).unwrap(),
            ObjectClass::SECRET_KEY.0.to_le_bytes()
        );
    }
    assert_eq!(fake.requests("Fetch") + fake.requests("GetAttributes"), 0);
    assert_eq!(app.read(session, key, A::SUBJECT), Err(Rv::ATTRIBUTE_TYPE_INVALID));
    assert_eq!(app.read(session, key, A(0x8000_0001)), Err(Rv::ATTRIBUTE_TYPE_INVALID));
}

/// INV-1: key values are never answered from memory.
#[test]
fn key_values_are_asked_for_each_time() {
    let fake = super::fake::Fake::start(|_, request, _, _| {
        let Some(hsmd_proto::wire::request::Op::GetAttributes(_)) = request.op else {
            return None;
        };
        let value = hsmd_proto::wire::AttributeValue {
            rv: Rv::ATTRIBUTE_SENSITIVE.0,
            attribute: None,
        };
        let values = hsmd_proto::wire::AttributeValues { values: vec![value] };
        Some(super::fake::ok(hsmd_proto::wire::reply::Result::Attributes(values)))
    });
    let app = App::new(&fake);
    let session = app.session();
    let key = app.aes(session);
    for _ in 0..2 {
        assert_eq!(app.read(session, key, A::VALUE), Err(Rv::ATTRIBUTE_SENSITIVE));
    }
    assert_eq!(fake.requests("GetAttributes"), 2);
}

#[test]
fn what_a_search_only_named_is_fetched_in_one_request_with_its_neighbours() {
    let fake = good();
    let app = App::new(&fake);
    let session = app.session();
    for index in 0..10 {
        app.create(session, &data(&index.to_string(), true, false)).unwrap();
    }
    let reader = App::new(&fake);
    let session = reader.session();
    let found = reader.find(session, &Template::default()).unwrap();
    assert_eq!(found.len(), 10);
    for handle in found {
        assert_eq!(
            reader.read(session, handle, A::CLASS).unwrap(),
            ObjectClass::DATA.0.to_le_bytes()
        );
    }
    assert_eq!(fake.requests("Fetch"), 1);
}

#[test]
fn templates_are_checked_before_anything_is_sent() {
    let fake = good();
    let app = App::new(&fake);
    let (writer, reader) = (app.session(), app.open(0).unwrap());
    assert_eq!(app.create(writer, &Template::default()), Err(Rv::TEMPLATE_INCOMPLETE));
    assert_eq!(app.create(reader, &aes_template()), Err(Rv::SESSION_READ_ONLY));
    let unknown = Template(vec![Attribute::bytes(A(0x8000_0001), b"x")]);
    assert_eq!(app.create(writer, &unknown), Err(Rv::ATTRIBUTE_TYPE_INVALID));
    let long = Template(vec![Attribute::bytes(A::TOKEN, b"xx")]);
    assert_eq!(app.create(writer, &long), Err(Rv::ATTRIBUTE_VALUE_INVALID));
    assert_eq!(fake.requests("CreateObject"), 0);
}

#[test]
fn an_object_that_is_not_the_one_asked_for_is_not_believed() {
    let fake = super::fake::Fake::start(|_, request, _, _| {
        let Some(hsmd_proto::wire::request::Op::CreateObject(_)) = request.op else {
            return None;
        };
        let other = hsmd_proto::wire::Object {
            unique_id: vec![9; 16],
            ..hsmd_proto::wire::Object::default()
        };
        Some(Reaction::Reply(
            hsmd_proto::wire::Reply {
                result: Some(hsmd_proto::wire::reply::Result::Object(other)),
                ..hsmd_proto::wire::Reply::default()
            },
            Vec::new(),
        ))
    });
    let app = App::new(&fake);
    assert_eq!(app.create(app.session(), &aes_template()), Err(Rv::DEVICE_ERROR));
}
