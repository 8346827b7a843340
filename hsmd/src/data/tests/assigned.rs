//! What clients see of slots, and how it ends: assignment is asked at every request.

use super::*;
use crate::data::clients::{Access, Peer, local_identity};
use crate::node::Cut;
use hsmd_proto::ids::SlotId;

const A: &str = include_str!("../../control/tests/a.pem");
const B: &str = include_str!("../../control/tests/b.pem");

/// A connection as the TLS listener makes it.
fn connect_as(node: &Arc<Node>, peer: Peer) -> (Client, JoinHandle<End>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs = Stream::from(theirs);
    let connected = node.clients.connect(peer.identity, theirs.line()).unwrap();
    let node = node.clone();
    let task = spawn(move || connection::serve(&node, theirs, peer, connected));
    let mut client = Client::over(ours);
    client.hello();
    (client, task)
}

fn slots(client: &mut Client) -> Vec<u32> {
    match client.call(Op::ListSlots(wire::ListSlots {})).1 {
        Some(reply::Result::Slots(list)) => list.slots.iter().map(|slot| slot.id).collect(),
        _ => panic!("no list of slots"),
    }
}

fn find(client: &mut Client, slot: u32) -> Rv {
    client.call_with(slot, |_| Op::Find(wire::Find::default())).0
}

/// Registered clients as peers, and the node.
struct Scene {
    node: Arc<Node>,
    arns: [String; 2],
    peers: [Peer; 2],
    serial: String,
}

fn scene() -> Scene {
    let node = node(|_| ());
    let clients = [A, B].map(|pem| node.model().create_client(None, pem).unwrap());
    let peers = clients.each_ref().map(|client| Peer {
        identity: client.identity().unwrap(),
        access: Access::Client(client.id.as_str().into()),
        user: 1,
        process: 1,
    });
    let serial = node.model().partitions("").unwrap()[0].serial.clone();
    let arns = clients.map(|client| client.arn);
    Scene {
        node,
        arns,
        peers,
        serial,
    }
}

#[test]
fn a_client_sees_what_is_assigned_to_it_and_nothing_tells_it_of_more() {
    let Scene {
        node,
        arns,
        peers,
        serial,
    } = scene();
    let (mut a, _a) = connect_as(&node, peers[0].clone());
    let (mut b, _b) = connect_as(&node, peers[1].clone());
    assert_eq!((slots(&mut a), slots(&mut b)), (vec![], vec![]));
    node.model().assign(&arns[0], &serial).unwrap();
    assert_eq!((slots(&mut a), slots(&mut b)), (vec![0], vec![]));
    a.set_up(0);
    assert_eq!(find(&mut a, 0), Rv::OK);
    // Not even with the ticket, and whatever is asked: as with a slot that does not exist.
    b.ticket = a.ticket.clone();
    for slot in [0, 1, 77] {
        assert_eq!(find(&mut b, slot), Rv::SLOT_ID_INVALID);
        assert_eq!(b.init_token(slot), Rv::SLOT_ID_INVALID);
        assert_eq!(b.login(slot, UserType::USER, PIN), Rv::SLOT_ID_INVALID);
        let list = b.call_with(slot, |_| Op::ListMechanisms(wire::ListMechanisms {}));
        assert_eq!(list.0, Rv::SLOT_ID_INVALID);
    }
    // The other one, once it may see the slot, needs a login of its own.
    node.model().assign(&arns[1], &serial).unwrap();
    assert_eq!(find(&mut b, 0), Rv::USER_NOT_LOGGED_IN);
    b.ticket = None;
    assert_eq!(b.login(0, UserType::USER, PIN), Rv::OK);
}

#[test]
fn a_revocation_ends_connections_and_logins_of_that_client_only() {
    let Scene {
        node,
        arns,
        peers,
        serial,
    } = scene();
    for arn in &arns {
        node.model().assign(arn, &serial).unwrap();
    }
    let (mut a, task) = connect_as(&node, peers[0].clone());
    let (mut b, _b) = connect_as(&node, peers[1].clone());
    a.set_up(0);
    assert_eq!(b.login(0, UserType::USER, PIN), Rv::OK);
    let revoked = node.model().revoke(&arns[0], &serial).unwrap();
    assert_eq!(revoked.left.slots, [0; 0]);
    // From here on the open connection gets nothing more, and then it ends.
    assert_eq!(find(&mut a, 0), Rv::SLOT_ID_INVALID);
    node.cut(&revoked.identity.unwrap(), Cut::At(revoked.key_sets)).unwrap();
    assert!(task.join().unwrap().is_ordinary());
    assert_eq!(find(&mut b, 0), Rv::OK);
    let key_set = node.slots().get(SlotId(0)).unwrap().key_set.clone().unwrap();
    assert_eq!(key_set.logins().len(), 1);
    // Assigned again it has to log in again.
    node.model().assign(&arns[0], &serial).unwrap();
    let ticket = a.ticket.take();
    let (mut a, _a) = connect_as(&node, peers[0].clone());
    a.ticket = ticket;
    assert_eq!(find(&mut a, 0), Rv::USER_NOT_LOGGED_IN);
}

#[test]
fn a_replaced_or_deleted_certificate_sees_nothing_from_that_moment() {
    let Scene {
        node,
        arns,
        peers,
        serial,
    } = scene();
    node.model().assign(&arns[0], &serial).unwrap();
    let (mut a, task) = connect_as(&node, peers[0].clone());
    a.set_up(0);
    node.model().delete_client(&arns[1]).unwrap();
    let (changed, was) = node.model().modify_client(&arns[0], B).unwrap();
    assert_eq!(find(&mut a, 0), Rv::SLOT_ID_INVALID);
    node.cut(&was.unwrap(), Cut::Everywhere).unwrap();
    task.join().unwrap();
    let key_set = node.slots().get(SlotId(0)).unwrap().key_set.clone().unwrap();
    assert_eq!(key_set.logins(), []);
    // The new certificate has what the client had.
    let (mut b, _b) = connect_as(&node, peers[1].clone());
    assert_eq!(slots(&mut b), [0]);
    assert_eq!(changed.identity(), Some(peers[1].identity));
    node.model().delete_client(&arns[0]).unwrap();
    assert_eq!(slots(&mut b), [0; 0]);
}

#[test]
fn the_token_shows_how_much_it_may_hold() {
    let node = node(|_| ());
    let serial = node.model().partitions("").unwrap()[0].serial.clone();
    let (mut client, _task) = connect(&node);
    client.hello();
    client.set_up(0);
    let memory = |client: &mut Client| match client.call(Op::ListSlots(wire::ListSlots {})).1 {
        Some(reply::Result::Slots(list)) => {
            let token = list.slots[0].token.clone().unwrap();
            (token.memory, token.free_memory)
        }
        _ => panic!("no list of slots"),
    };
    assert_eq!(memory(&mut client), (0, 0));
    node.model().resize(&serial, None, Some(6_000)).unwrap();
    assert_eq!(memory(&mut client), (6_000, 6_000));
    let made: Vec<_> = (0..12).map(|_| client.call_with(0, ec_pair).0).collect();
    assert!(made.contains(&Rv::DEVICE_MEMORY), "{made:?}");
    let (all, free) = memory(&mut client);
    assert!(all == 6_000 && free < 6_000, "{free}");
}

#[test]
fn local_users_are_clients_where_the_configuration_says_so() {
    let node = node(|_| ());
    let user = |user: u32| Peer {
        identity: local_identity(node.keystore.node(), user),
        access: Access::Client(format!("user-{user}").into()),
        user,
        process: 1,
    };
    let (mut client, _task) = connect_as(&node, user(1000));
    let (mut other, _other) = connect_as(&node, user(1001));
    assert_eq!(slots(&mut client), [0; 0]);
    node.model().create_local_client(1000, "web").unwrap();
    let serial = node.model().partitions("").unwrap()[0].serial.clone();
    assert_eq!(node.model().assign("web", &serial).unwrap().slots, [0]);
    assert_eq!((slots(&mut client), slots(&mut other)), (vec![0], vec![]));
    assert!(node.model().delete_local_client("user-1000").unwrap().is_some());
    assert_eq!(slots(&mut client), [0; 0]);
}
