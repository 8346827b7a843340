//! The reference: sessions, logins, objects and attributes as PKCS#11 3.2 has them (chapters 4 and 5.6, 5.7, 5.18), with the
//! defaults and the wrapping rules of docs/design.md under the policy `standard`. Written from those, not from our code; small,
//! and slow where that is simpler. It says what a call returns and what it leaves; it knows no handle and no value.

use cryptoki_sys::*;

/// Who is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    Nobody,
    User,
    Officer,
}

/// An attribute of CK_BBOOL that the model follows.
pub(super) const FLAGS: [CK_ATTRIBUTE_TYPE; 15] = [
    CKA_TOKEN,
    CKA_PRIVATE,
    CKA_MODIFIABLE,
    CKA_COPYABLE,
    CKA_DESTROYABLE,
    CKA_SENSITIVE,
    CKA_EXTRACTABLE,
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_TRUSTED,
    CKA_LOCAL,
    CKA_ALWAYS_SENSITIVE,
    CKA_NEVER_EXTRACTABLE,
];

/// Those of [`FLAGS`] that data objects have too.
pub(super) const COMMON: usize = 5;

/// What the caller names: flags, and a label.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub(super) flags: Vec<(CK_ATTRIBUTE_TYPE, bool)>,
    pub(super) label: Option<u8>,
}

impl Wish {
    fn names(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<bool> {
        self.flags
            .iter()
            .find(|(named, _)| *named == kind)
            .map(|(_, value)| *value)
    }
}

/// The value of a key, which copies and re-imports share, and what it did (docs/design.md, 8).
#[derive(Clone, Copy, Debug)]
pub(super) struct Material {
    /// Has wrapped a sensitive key.
    pub(super) latched: bool,
    /// In bytes.
    pub(super) size: usize,
}

/// An object.
#[derive(Clone, Debug)]
pub(super) struct Thing {
    /// AES key, or data.
    pub(super) key: bool,
    /// In the order of [`FLAGS`].
    pub(super) flags: [bool; FLAGS.len()],
    pub(super) label: u8,
    /// Created, unwrapped, or readable at some moment; copies have it from what they copy. Docs/design.md, 8, speaks of the
    /// material: there an unwrapped blob of a key made here would make that key one from outside, too. The keystore looks at
    /// the object, which has the same value and a history without a way out, and so does this model.
    pub(super) outside: bool,
    /// Index into the model's materials.
    pub(super) material: usize,
    /// The session that a session object belongs to.
    pub(super) owner: Option<usize>,
    pub(super) alive: bool,
}

impl Thing {
    pub(super) fn is(&self, kind: CK_ATTRIBUTE_TYPE) -> bool {
        FLAGS
            .iter()
            .position(|flag| *flag == kind)
            .is_some_and(|at| self.flags[at])
    }

    fn put(&mut self, kind: CK_ATTRIBUTE_TYPE, value: bool) {
        if let Some(at) = FLAGS.iter().position(|flag| *flag == kind) {
            self.flags[at] = value;
        }
    }

    /// Its value may be read (4.9, 4.10: CKA_SENSITIVE, CKA_EXTRACTABLE).
    pub(super) fn readable(&self) -> bool {
        !self.key || (!self.is(CKA_SENSITIVE) && self.is(CKA_EXTRACTABLE))
    }
}

/// A session: read and write, or read only; `None` once it is closed.
pub(super) type Session = Option<bool>;

/// A blob that C_WrapKey gave.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) by: usize,
    pub(super) holds: usize,
}

/// Everything.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) login: Login,
    pub(super) sessions: Vec<Session>,
    pub(super) things: Vec<Thing>,
    pub(super) materials: Vec<Material>,
    pub(super) blobs: Vec<Blob>,
}

/// What a call may return: one code, or one of those that apply at once (5.1.6: any of them).
pub(super) type Codes = Vec<CK_RV>;

/// Either the codes of a call that fails, or what it made.
pub(super) type Made = Result<usize, Codes>;

impl Model {
    pub(super) fn new() -> Self {
        Self {
            login: Login::Nobody,
            sessions: Vec::new(),
            things: Vec::new(),
            materials: Vec::new(),
            blobs: Vec::new(),
        }
    }

    fn open(&self) -> impl Iterator<Item = bool> {
        self.sessions.iter().flatten().copied()
    }

    /// Whether a caller sees an object at all (4.4: private objects after the user's login only).
    pub(super) fn sees(&self, thing: &Thing) -> bool {
        thing.alive && (!thing.is(CKA_PRIVATE) || self.login == Login::User)
    }

    /// C_OpenSession (5.6.1).
    pub(super) fn open_session(&mut self, read_write: bool) -> Made {
        if !read_write && self.login == Login::Officer {
            return Err(vec![CKR_SESSION_READ_WRITE_SO_EXISTS]);
        }
        self.sessions.push(Some(read_write));
        Ok(self.sessions.len() - 1)
    }

    /// C_CloseSession (5.6.2): its objects go with it, the last one logs out.
    pub(super) fn close_session(&mut self, session: usize) {
        self.sessions[session] = None;
        for thing in &mut self.things {
            thing.alive &= thing.owner != Some(session);
        }
        if self.open().next().is_none() {
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.login = Login::Nobody;
        for thing in &mut self.things {
            // 5.6.10: private session objects are destroyed at a logout.
            let goes = thing.owner.is_some() && thing.is(CKA_PRIVATE);
            thing.alive &= !goes;
        }
    }

    /// C_Login (5.6.8).
    pub(super) fn log_in(&mut self, officer: bool) -> Result<(), Codes> {
        let wanted = if officer { Login::Officer } else { Login::User };
        if self.login == wanted {
            return Err(vec![CKR_USER_ALREADY_LOGGED_IN]);
        }
        if self.login != Login::Nobody {
            return Err(vec![CKR_USER_ANOTHER_ALREADY_LOGGED_IN]);
        }
        if officer && self.open().any(|read_write| !read_write) {
            return Err(vec![CKR_SESSION_READ_ONLY_EXISTS]);
        }
        self.login = wanted;
        Ok(())
    }

    /// C_Logout (5.6.10).
    pub(super) fn log_out(&mut self) -> Result<(), Codes> {
        if self.login == Login::Nobody {
            return Err(vec![CKR_USER_NOT_LOGGED_IN]);
        }
        self.leave();
        Ok(())
    }

    /// What stands against an object with these flags on this session, whoever makes it (4.4, 5.1.6).
    fn refused(&self, session: usize, token: bool, private: bool) -> Codes {
        let mut codes = Vec::new();
        if token && self.sessions[session] == Some(false) {
            codes.push(CKR_SESSION_READ_ONLY);
        }
        if private && self.login != Login::User {
            codes.push(CKR_USER_NOT_LOGGED_IN);
        }
        codes
    }

    /// The defaults of docs/design.md, section 8, under `standard`.
    fn drafted(key: bool, wish: &Wish, made_here: bool) -> Thing {
        let mut thing = Thing {
            key,
            flags: [false; FLAGS.len()],
            label: wish.label.unwrap_or(0),
            outside: !made_here,
            material: 0,
            owner: None,
            alive: true,
        };
        for kind in [CKA_PRIVATE, CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE] {
            thing.put(kind, true);
        }
        if key {
            for kind in [CKA_SENSITIVE, CKA_ENCRYPT, CKA_DECRYPT] {
                thing.put(kind, true);
            }
        }
        for (kind, value) in &wish.flags {
            thing.put(*kind, *value);
        }
        if key && made_here {
            // 4.10: what was so at birth, and stays so until it is otherwise once.
            thing.put(CKA_LOCAL, true);
            thing.put(CKA_ALWAYS_SENSITIVE, thing.is(CKA_SENSITIVE));
            thing.put(CKA_NEVER_EXTRACTABLE, !thing.is(CKA_EXTRACTABLE));
        }
        thing
    }

    /// CKA_TRUSTED is the officer's (4.10); what the token computes is nobody's (4.1).
    fn forbidden(&self, wish: &Wish) -> Codes {
        let computed = [CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE];
        let mut codes = Vec::new();
        if computed.iter().any(|kind| wish.names(*kind).is_some()) {
            codes.extend([CKR_ATTRIBUTE_READ_ONLY, CKR_TEMPLATE_INCONSISTENT]);
        }
        if wish.names(CKA_TRUSTED) == Some(true) && self.login != Login::Officer {
            codes.push(CKR_ATTRIBUTE_READ_ONLY);
        }
        codes
    }

    fn add(&mut self, mut thing: Thing, session: usize) -> usize {
        thing.owner = (!thing.is(CKA_TOKEN)).then_some(session);
        thing.outside |= thing.readable();
        self.things.push(thing);
        self.things.len() - 1
    }

    /// C_CreateObject (5.7.1) of data, or of an AES key with a new value.
    pub(super) fn create(&mut self, session: usize, key: Option<usize>, wish: &Wish) -> Made {
        let mut thing = Self::drafted(key.is_some(), wish, false);
        let mut codes = self.forbidden(wish);
        codes.extend(self.refused(session, thing.is(CKA_TOKEN), thing.is(CKA_PRIVATE)));
        if !codes.is_empty() {
            return Err(codes);
        }
        if let Some(size) = key {
            thing.material = self.material(size);
        }
        Ok(self.add(thing, session))
    }

    fn material(&mut self, size: usize) -> usize {
        self.materials.push(Material { latched: false, size });
        self.materials.len() - 1
    }

    /// C_GenerateKey (5.18.1) of an AES key.
    pub(super) fn generate(&mut self, session: usize, size: usize, wish: &Wish) -> Made {
        let mut thing = Self::drafted(true, wish, true);
        let mut codes = self.forbidden(wish);
        codes.extend(self.refused(session, thing.is(CKA_TOKEN), thing.is(CKA_PRIVATE)));
        if !codes.is_empty() {
            return Err(codes);
        }
        thing.material = self.material(size);
        Ok(self.add(thing, session))
    }

    /// Whether a change of a flag goes the way that 4.1, 4.4, 4.9 and 4.10 allow; `copying` frees what only C_CopyObject may
    /// change.
    fn may_change(&self, thing: &Thing, kind: CK_ATTRIBUTE_TYPE, value: bool, copying: bool) -> bool {
        let now = thing.is(kind);
        match kind {
            CKA_TOKEN | CKA_MODIFIABLE | CKA_PRIVATE if !copying => false,
            CKA_TOKEN => true,
            CKA_MODIFIABLE | CKA_COPYABLE | CKA_DESTROYABLE | CKA_EXTRACTABLE => now || !value,
            CKA_PRIVATE | CKA_SENSITIVE => !now || value,
            CKA_LOCAL | CKA_ALWAYS_SENSITIVE | CKA_NEVER_EXTRACTABLE => false,
            CKA_TRUSTED => !value || self.login == Login::Officer,
            _ => true,
        }
    }

    fn apply(thing: &mut Thing, wish: &Wish) {
        for (kind, value) in &wish.flags {
            thing.put(*kind, *value);
        }
        if let Some(label) = wish.label {
            thing.label = label;
        }
        if thing.key {
            thing.put(
                CKA_ALWAYS_SENSITIVE,
                thing.is(CKA_ALWAYS_SENSITIVE) && thing.is(CKA_SENSITIVE),
            );
            thing.put(
                CKA_NEVER_EXTRACTABLE,
                thing.is(CKA_NEVER_EXTRACTABLE) && !thing.is(CKA_EXTRACTABLE),
            );
        }
    }

    /// The codes for flags that an object of this kind does not have, or that may not go that way.
    fn against(&self, thing: &Thing, wish: &Wish, copying: bool) -> Codes {
        let mut codes = Vec::new();
        for (kind, value) in &wish.flags {
            let has = thing.key || FLAGS[..COMMON].contains(kind);
            if !has {
                codes.push(CKR_ATTRIBUTE_TYPE_INVALID);
            } else if !self.may_change(thing, *kind, *value, copying) {
                codes.push(CKR_ATTRIBUTE_READ_ONLY);
                if copying {
                    codes.push(CKR_TEMPLATE_INCONSISTENT);
                }
            }
        }
        codes
    }

    /// C_SetAttributeValue (5.7.6).
    pub(super) fn set(&mut self, session: usize, index: usize, wish: &Wish) -> Result<(), Codes> {
        let mut thing = self.things[index].clone();
        if !self.sees(&thing) {
            return Err(vec![CKR_OBJECT_HANDLE_INVALID]);
        }
        let mut codes = self.against(&thing, wish, false);
        if thing.is(CKA_TOKEN) && self.sessions[session] == Some(false) {
            codes.push(CKR_SESSION_READ_ONLY);
        }
        if !thing.is(CKA_MODIFIABLE) {
            codes.push(CKR_ACTION_PROHIBITED);
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        Self::apply(&mut thing, wish);
        thing.outside |= thing.readable();
        self.things[index] = thing;
        Ok(())
    }

    /// C_CopyObject (5.7.2).
    pub(super) fn copy(&mut self, session: usize, index: usize, wish: &Wish) -> Made {
        let mut thing = self.things[index].clone();
        if !self.sees(&thing) {
            return Err(vec![CKR_OBJECT_HANDLE_INVALID]);
        }
        let mut codes = self.against(&thing, wish, true);
        if !thing.is(CKA_COPYABLE) {
            codes.push(CKR_ACTION_PROHIBITED);
        }
        if self.login != Login::Officer {
            // Docs/design.md, 8: the officer trusts one key, not what others make of it.
            thing.put(CKA_TRUSTED, false);
        }
        Self::apply(&mut thing, wish);
        codes.extend(self.refused(session, thing.is(CKA_TOKEN), thing.is(CKA_PRIVATE)));
        if !codes.is_empty() {
            return Err(codes);
        }
        Ok(self.add(thing, session))
    }

    /// C_DestroyObject (5.7.3).
    pub(super) fn destroy(&mut self, session: usize, index: usize) -> Result<(), Codes> {
        let thing = &self.things[index];
        if !self.sees(thing) {
            return Err(vec![CKR_OBJECT_HANDLE_INVALID]);
        }
        let mut codes = Vec::new();
        if thing.is(CKA_TOKEN) && self.sessions[session] == Some(false) {
            codes.push(CKR_SESSION_READ_ONLY);
        }
        if !thing.is(CKA_DESTROYABLE) {
            codes.push(CKR_ACTION_PROHIBITED);
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        self.things[index].alive = false;
        Ok(())
    }

    /// C_EncryptInit or C_DecryptInit with CKM_AES_CBC (5.8.1, 5.10.1; docs/design.md, 8, for a key that has wrapped).
    pub(super) fn begin(&self, index: usize, usage: CK_ATTRIBUTE_TYPE) -> Result<(), Codes> {
        let thing = &self.things[index];
        if !self.sees(thing) || !thing.key {
            return Err(vec![CKR_KEY_HANDLE_INVALID]);
        }
        if !thing.is(usage) || self.materials[thing.material].latched {
            return Err(vec![CKR_KEY_FUNCTION_NOT_PERMITTED]);
        }
        Ok(())
    }

    /// Whether only the latch of its material keeps a key from this use.
    pub(super) fn bars(&self, index: usize, usage: CK_ATTRIBUTE_TYPE) -> bool {
        let thing = &self.things[index];
        self.sees(thing) && thing.key && thing.is(usage) && self.materials[thing.material].latched
    }

    /// C_WrapKey with CKM_AES_KEY_WRAP (5.18.3; docs/design.md, 8).
    pub(super) fn wrap(&mut self, by: usize, index: usize) -> Made {
        let (wrapping, key) = (&self.things[by], &self.things[index]);
        let mut codes = Vec::new();
        let (opens, there) = (self.sees(wrapping) && wrapping.key, self.sees(key) && key.key);
        if !opens {
            codes.push(CKR_WRAPPING_KEY_HANDLE_INVALID);
        } else if !wrapping.is(CKA_WRAP) {
            codes.push(CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
        if !there {
            codes.push(CKR_KEY_HANDLE_INVALID);
        } else if !key.is(CKA_EXTRACTABLE) {
            codes.push(CKR_KEY_UNEXTRACTABLE);
        }
        let sensitive = key.is(CKA_SENSITIVE);
        if opens && there && sensitive {
            let (with, what) = (self.materials[wrapping.material], self.materials[key.material]);
            if wrapping.outside && !wrapping.is(CKA_TRUSTED) {
                codes.push(CKR_KEY_NOT_WRAPPABLE);
            }
            if with.size < what.size {
                codes.extend([CKR_WRAPPING_KEY_SIZE_RANGE, CKR_KEY_NOT_WRAPPABLE]);
            }
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        let (by, holds) = (wrapping.material, key.material);
        self.materials[by].latched |= sensitive;
        self.blobs.push(Blob { by, holds });
        Ok(self.blobs.len() - 1)
    }

    /// C_UnwrapKey with CKM_AES_KEY_WRAP of a blob as an AES key (5.18.4; docs/design.md, 8).
    pub(super) fn unwrap(&mut self, session: usize, by: usize, blob: usize, wish: &Wish) -> Made {
        let unwrapping = &self.things[by];
        if !self.sees(unwrapping) || !unwrapping.key {
            return Err(vec![CKR_UNWRAPPING_KEY_HANDLE_INVALID]);
        }
        let (material, blob) = (unwrapping.material, self.blobs[blob].clone());
        let mut thing = Self::drafted(true, wish, false);
        let mut codes = self.forbidden(wish);
        codes.extend(self.refused(session, thing.is(CKA_TOKEN), thing.is(CKA_PRIVATE)));
        if !unwrapping.is(CKA_UNWRAP) {
            codes.push(CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
        if self.materials[material].latched && (!thing.is(CKA_SENSITIVE) || thing.is(CKA_EXTRACTABLE)) {
            codes.push(CKR_TEMPLATE_INCONSISTENT);
        }
        if blob.by != material {
            codes.push(CKR_WRAPPED_KEY_INVALID);
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        thing.material = blob.holds;
        Ok(self.add(thing, session))
    }
}
