//! Groups as applications see them: the virtual slot while members are suspended, a partition that brings its keys along and
//! takes a copy when it leaves. Kills at each step are the keystore's tests; states and lists the model's.

use cryptoki_sys::*;
use hsmd_tests::daemon::{PIN, SO_PIN};
use hsmd_tests::module::Module;
use hsmd_tests::peers::{Run, Token, run, succeed};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{self, Mechanism, bytes, flag};
use serde_json::Value;
use std::path::Path;

/// A token with pkcs11-tool, and the daemon's administration beside it.
struct Bench(Token);

impl Bench {
    fn new() -> Self {
        Self(Token::hsmd())
    }

    fn run(&self, arguments: &str) -> Run {
        let daemon = self.0.daemon.as_ref().expect("a daemon of its own");
        let mut command = daemon.command(Path::new(daemon.variable("HSMCTL")));
        run(command
            .args(["--endpoint", daemon.variable("HSMD_ENDPOINT")])
            .args(arguments.split_whitespace()))
    }

    fn hsmctl(&self, arguments: &str) -> Value {
        let run = self.run(&format!("{arguments} -o json"));
        assert!(run.good, "{}", run.text);
        serde_json::from_slice(&run.output).unwrap_or(Value::Null)
    }

    fn module(&self) -> Module {
        let module = self.0.daemon.as_ref().expect("a daemon of its own").module();
        module.initialize().expect("C_Initialize");
        module
    }

    /// A second HSM with a partition; serial and slot of both, and the HSMs.
    fn second(&self) -> [(String, u64, String); 2] {
        let hsm = text(&self.hsmctl("hsm create"), "id");
        self.hsmctl(&format!("partition create second --hsm {hsm}"));
        let listed = self.hsmctl("partition list");
        let partitions = listed.as_array().expect("a list").iter();
        let of = |label: &str| {
            let fits = |partition: &&Value| (text(partition, "label") == label) == (label == "second");
            let partition = partitions.clone().find(fits).expect("a partition");
            let arn = text(partition, "hsm_arn");
            let hsm = arn.rsplit(':').next().expect("an id").to_owned();
            let slot = partition["slot"].as_u64().expect("a slot");
            (text(partition, "serial"), slot, hsm)
        };
        [of("first"), of("second")]
    }

    fn tool(&self, slot: u64, arguments: &str) -> Run {
        succeed(&mut self.0.pkcs11_tool(&format!("--slot {slot} {arguments}")))
    }

    fn labels(&self, slot: u64) -> usize {
        let listed = self.tool(slot, &format!("--login --pin {PIN} --list-objects --type privkey"));
        listed.text.matches("label:").count()
    }

    fn make_pair(&self, slot: u64, id: &str) {
        let pair = format!("--login --pin {PIN} --keypairgen --key-type EC:prime256v1 --id {id} --label key{id}");
        self.tool(slot, &pair);
    }
}

fn text(value: &Value, field: &str) -> String {
    let text = value[field].as_str();
    text.unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

/// The slot of a group: the one whose token has its serial number.
fn slot_of(module: &Module, serial: &str) -> CK_SLOT_ID {
    let slots = module.slots(false).expect("C_GetSlotList");
    let fits = |slot: &&CK_SLOT_ID| module.token_info(**slot).is_ok_and(|info| info.serial == serial);
    *slots.iter().find(fits).expect("the virtual slot")
}

#[test]
fn the_virtual_slot_goes_on_while_one_member_serves() {
    let bench = Bench::new();
    let [(first, one, first_hsm), (second, two, second_hsm)] = bench.second();
    let group = bench.hsmctl("group create web");
    let serial = text(&group, "serial");
    bench.hsmctl(&format!("group add web {first} {second}"));
    let module = bench.module();
    let slot = slot_of(&module, &serial);
    assert!(slot > one && slot > two, "after the physical slots");
    let listed = succeed(&mut bench.0.pkcs11_tool("--list-slots"));
    assert!(listed.text.contains("HA Virtual Card Slot"), "{}", listed.text);
    let session = module.open_session(slot).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    let public = [bytes(CKA_EC_PARAMS, template::P256), flag(CKA_TOKEN, true)];
    let private = [flag(CKA_TOKEN, true), bytes(CKA_LABEL, "shared")];
    let (public, private) = module
        .generate_key_pair(session, &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN), &public, &private)
        .expect("a pair");
    let sign = || {
        let mechanism = Mechanism::Plain(CKM_ECDSA_SHA256);
        let signature = module.sign(session, &mechanism, private, b"data")?;
        module.verify(session, &mechanism, public, b"data", &signature)
    };
    // INV-3: there at once for a program that uses a member's own slot.
    assert_eq!((bench.labels(one), bench.labels(two)), (1, 1));
    let other = module.open_session(two).expect("C_OpenSession");
    for hsm in [&first_hsm, &second_hsm] {
        bench.hsmctl(&format!("hsm suspend {hsm}"));
        assert_eq!(sign(), Ok(()), "one member is left");
        bench.tool(slot, &format!("--login --pin {PIN} --sign --mechanism ECDSA-SHA256 --label shared --input-file /etc/hostname --output-file /dev/null"));
        bench.hsmctl(&format!("hsm resume {hsm}"));
    }
    for hsm in [&first_hsm, &second_hsm] {
        bench.hsmctl(&format!("hsm suspend {hsm}"));
    }
    assert!(sign().is_err(), "no member is left");
    assert_eq!(module.token_info(slot).err(), Some(Rv(CKR_TOKEN_NOT_PRESENT)));
    assert!(
        module.slots(false).expect("C_GetSlotList").contains(&slot),
        "the slot stays"
    );
    bench.hsmctl(&format!("hsm resume {second_hsm}"));
    assert_eq!(sign(), Ok(()), "the same session, login and handles");
    assert_eq!(module.token_info(slot).map(|info| info.serial), Ok(serial));
    module
        .login(other, CKU_USER, PIN)
        .expect("a login of its own on the member's slot");
}

#[test]
fn a_partition_brings_its_keys_along_and_takes_a_copy_when_it_leaves() {
    let bench = Bench::new();
    let [(first, one, _), (second, two, _)] = bench.second();
    bench.tool(two, &format!("--init-token --label second --so-pin {SO_PIN}"));
    bench.tool(
        two,
        &format!("--init-pin --login --login-type so --so-pin {SO_PIN} --new-pin {PIN}"),
    );
    bench.make_pair(one, "01");
    bench.make_pair(two, "02");
    bench.hsmctl("group create web");
    bench.hsmctl(&format!("group add web {first}"));
    // A program that was there before, on the slot of the partition that joins.
    let module = bench.module();
    let session = module.open_session(two).expect("C_OpenSession");
    let group = bench.hsmctl(&format!("group add web {second}"));
    assert_eq!(text(&group, "state"), "UPDATING");
    assert_eq!(group["pending_registration"].as_array().map(Vec::len), Some(1));
    let listed = succeed(&mut bench.0.pkcs11_tool("--list-slots"));
    assert!(listed.text.contains("readonly"), "{}", listed.text);
    assert_eq!(bench.labels(one), 1 + 1, "this login opened both tokens");
    assert_eq!(text(&bench.hsmctl("group describe web"), "state"), "READY");
    assert_eq!(bench.labels(two), 2);
    // The program finds the group's token in its slot, and logs in to it.
    module.login(session, CKU_USER, PIN).expect("C_Login");
    module.token_info(two).expect("C_GetTokenInfo");
    assert_eq!(
        module
            .find(session, &[bytes(CKA_LABEL, "key01")])
            .map(|found| found.len()),
        Ok(2)
    );
    bench.hsmctl(&format!("group remove web {second} --yes"));
    assert_eq!(text(&bench.hsmctl("group describe web"), "state"), "READY");
    bench.make_pair(two, "03");
    assert_eq!((bench.labels(one), bench.labels(two)), (2, 3));
}
