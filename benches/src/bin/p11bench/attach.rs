//! From a new process to a login: what every worker does first, and the row `cold-start` with times.

use std::path::Path;
use std::time::Instant;

use cryptoki_sys::{CK_SLOT_ID, CKM_ECDSA, CKO_PRIVATE_KEY, CKU_USER};
use hsmd_tests::module::Module;
use hsmd_tests::template::Mechanism;

use crate::job::{Answer, Attach};
use crate::rows::keys;
use crate::worker::Attached;

/// C_Initialize, the token's slot, a session, C_Login.
pub(crate) fn attach(module: Module, what: &Attach) -> Result<Attached, String> {
    stages(module, what, |_| {})
}

fn stages(module: Module, what: &Attach, mut reached: impl FnMut(&'static str)) -> Result<Attached, String> {
    module.initialize().map_err(|rv| format!("C_Initialize: {rv}"))?;
    reached("C_Initialize");
    let slot = slot(&module, &what.token)?;
    let session = module.open_session(slot).map_err(|rv| format!("C_OpenSession: {rv}"))?;
    reached("slot and session");
    module
        .login(session, CKU_USER, &what.pin)
        .map_err(|rv| format!("C_Login: {rv}"))?;
    reached("C_Login");
    Ok(Attached {
        module,
        slot,
        session,
        pin: what.pin.clone(),
    })
}

fn slot(module: &Module, label: &str) -> Result<CK_SLOT_ID, String> {
    let slots = module.slots(true).map_err(|rv| format!("C_GetSlotList: {rv}"))?;
    let of_label = |slot: &CK_SLOT_ID| module.token_info(*slot).is_ok_and(|info| info.label == label);
    slots
        .into_iter()
        .find(of_label)
        .ok_or_else(|| format!("no token `{label}`"))
}

/// The stages of a cold start in microseconds, their sum as `total`, and the process's CPU time.
pub(crate) fn cold(what: &Attach) -> Result<Answer, String> {
    let start = Instant::now();
    let (mut last, mut times) = (start, Vec::new());
    let mut reached = |stage: &'static str| {
        let now = Instant::now();
        times.push((stage.to_owned(), (now - last).as_secs_f64() * 1e6));
        last = now;
    };
    let module = Module::load(Path::new(&what.module));
    reached("dlopen");
    let attached = stages(module, what, &mut reached)?;
    let bed = (&attached.module, attached.session);
    let key = keys::find(bed.0, bed.1, "p256", CKO_PRIVATE_KEY).map_err(|rv| format!("C_FindObjects: {rv}"))?;
    reached("first find");
    let signed = attached
        .module
        .sign(attached.session, &Mechanism::Plain(CKM_ECDSA), key, &[0x5a; 32]);
    signed.map_err(|rv| format!("C_Sign: {rv}"))?;
    reached("first signature");
    times.push(("total".to_owned(), start.elapsed().as_secs_f64() * 1e6));
    Ok(Answer::Cold {
        stages: times,
        cpu: crate::peer::cpu_of(std::process::id()),
    })
}
