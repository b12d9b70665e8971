//! The files of a rotation: what must be durable before anybody hears of it, and what is destroyed when it is final.
//!
//! ```text
//! keys/identity.key        the key that the node speaks by
//! keys/next.key            the key that it has committed to
//! rotations.json           every rotation since inception.json: public
//!
//! while a rotation is on its way:
//! keys/identity.new.key    what identity.key becomes
//! keys/next.new.key        what next.key becomes
//! ```
//!
//! Each file comes into its place whole, and in this order: both keys, then `rotations.json`; from then on the rotation is said, again and
//! again, until it is final. Then `identity.new.key` takes the place of `identity.key`, and last `next.new.key` that of `next.key`. Wherever
//! that ends half-way, [`tidy`] and [`prepare`] go on with the same keys. **Invariant:** of one number there is never a second rotation.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use frith_protocol::identity::{Inception, PublicKey, Rotation, SecretKey};
use frith_protocol::state::Keys;

use crate::home::{Home, HomeError};
use crate::keys::{self, KeyError, KeyKind, random_key, read_key, sync_dir, write_key};

/// A rotation has less than half a kilobyte of text, and nobody rotates this often.
const ROTATIONS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A rotation that nobody has heard of, and its keys.
#[derive(Debug)]
pub struct Prepared {
    /// Signed by `key`.
    pub rotation: Rotation,
    /// The key that it is to.
    pub key: SecretKey,
    /// The key that it commits to.
    after: SecretKey,
    rotations: Vec<Rotation>,
}

/// Signs the rotation of the node in `home` to its next key, which lies in the file `next`, or where it was made. Writes nothing.
///
/// # Errors
/// If that key is not there or not the one that was committed to, or a rotation is on its way already.
pub fn prepare(home: &Home, next: Option<&Path>) -> Result<Prepared, KeyError> {
    let keys = keys::load(home)?;
    if keys.successor.is_some() {
        return Err(KeyError::UnderWay);
    }
    let known = known_keys(home, &keys.inception, &keys.rotations)?;
    let path = next.map_or_else(|| home.keys().join("next.key"), Path::to_path_buf);
    if !path.exists() {
        return Err(KeyError::NextMissing { path });
    }
    let key = read_key(&path, KeyKind::Next)?;
    if key.public().commitment() != known.next {
        let why = "it is not the key that this node has committed to rotate to";
        return Err(KeyError::Damaged { path, why });
    }
    // An earlier attempt may have said it already: the same rotation again contradicts nothing, another would.
    let staged = next_new(home);
    let after = if staged.exists() { read_key(&staged, KeyKind::Next)? } else { random_key()? };
    let node = keys.inception.node_id();
    let rotation = Rotation::new(&node, known.sequence + 1, &key, &after.public());
    Ok(Prepared { rotation, key, after, rotations: keys.rotations })
}

/// Makes durable all that the rotation needs. From here on it will be said, whatever happens.
///
/// # Errors
/// If something cannot be written; then it has not been said.
pub fn stage(home: &Home, prepared: &Prepared) -> Result<(), KeyError> {
    put_key(&next_new(home), KeyKind::Next, &prepared.after)?;
    put_key(&identity_new(home), KeyKind::Identity, &prepared.key)?;
    sync_dir(&home.keys())?;
    let mut rotations = prepared.rotations.clone();
    rotations.push(prepared.rotation);
    let (path, new) = (home.rotations(), home.dir().join("rotations.json.new"));
    let mut text = serde_json::to_string_pretty(&rotations).expect("rotations are plain JSON");
    text.push('\n');
    fs::File::create(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, &path))
        .map_err(HomeError::io(&path, "write the rotations of this node"))?;
    sync_dir(home.dir())
}

/// The rotation is final: the new key takes the place of the old one, which is no more.
///
/// # Errors
/// If the files cannot be moved.
pub fn finish(home: &Home) -> Result<(), KeyError> {
    let dir = home.keys();
    for (from, to) in [(identity_new(home), "identity.key"), (next_new(home), "next.key")] {
        let to = dir.join(to);
        match fs::rename(&from, &to) {
            Ok(()) => sync_dir(&dir)?,
            // It was done before, and the end of it not written down.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(HomeError::io(&to, "put the new key into its place")(e).into()),
        }
    }
    Ok(())
}

/// Goes on with a [`finish`] that ended between its two steps.
///
/// # Errors
/// If the files cannot be read or moved.
pub fn tidy(home: &Home) -> Result<(), KeyError> {
    if !next_new(home).exists() || identity_new(home).exists() {
        return Ok(());
    }
    let keys = keys::load(home)?;
    let known = known_keys(home, &keys.inception, &keys.rotations)?;
    let after = read_key(&next_new(home), KeyKind::Next)?;
    // Otherwise it is the beginning of one: what `prepare` goes on with.
    if keys.successor.is_none() && after.public().commitment() == known.next { finish(home) } else { Ok(()) }
}

/// The rotations of the node in `home`, in order; none if it never rotated.
///
/// # Errors
/// If they cannot be read.
pub(crate) fn read(home: &Home) -> Result<Vec<Rotation>, KeyError> {
    let path = home.rotations();
    let mut text = String::new();
    match fs::File::open(&path).and_then(|file| file.take(ROTATIONS_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(HomeError::io(&path, "read the rotations of this node")(e).into()),
    }
    let why = "it is not a list of rotations as `frith rotate` writes it";
    serde_json::from_str(&text).map_err(|_| KeyError::Damaged { path, why })
}

/// The keys after all of them.
///
/// # Errors
/// If they do not follow one on the other.
pub(crate) fn known_keys(
    home: &Home,
    inception: &Inception,
    rotations: &[Rotation],
) -> Result<Keys, KeyError> {
    let why = "its rotations do not follow on inception.json and one on the other";
    rotations
        .iter()
        .try_fold(Keys::of(inception), |keys, rotation| keys.rotated(rotation))
        .map_err(|_| KeyError::Damaged { path: home.rotations(), why })
}

/// The key that the last rotation is to, if it is not in its place yet.
///
/// # Errors
/// If `identity` is neither that key nor the one before it.
pub(crate) fn successor(
    home: &Home,
    identity: &PublicKey,
    known: &Keys,
) -> Result<Option<SecretKey>, KeyError> {
    if known.current == *identity {
        return Ok(None);
    }
    let path = identity_new(home);
    let why = "neither it nor identity.key is the key of the last rotation in rotations.json";
    if !path.exists() {
        return Err(KeyError::Damaged { path, why });
    }
    let key = read_key(&path, KeyKind::Identity)?;
    if key.public() == known.current { Ok(Some(key)) } else { Err(KeyError::Damaged { path, why }) }
}

fn identity_new(home: &Home) -> PathBuf {
    home.keys().join("identity.new.key")
}

fn next_new(home: &Home) -> PathBuf {
    home.keys().join("next.new.key")
}

/// Writes a key that is there whole or not at all.
fn put_key(path: &Path, kind: KeyKind, key: &SecretKey) -> Result<(), KeyError> {
    let part = path.with_extension("part");
    match fs::remove_file(&part) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(HomeError::io(&part, "remove what an earlier attempt left")(e).into());
        }
        Ok(()) | Err(_) => {}
    }
    write_key(&part, kind, key)?;
    fs::rename(&part, path).map_err(HomeError::io(path, "put a key into its place"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("node"));
        keys::create(&home).unwrap();
        (dir, home)
    }

    /// What a crash after any of its steps leaves: the files before it, and those steps.
    fn copy(from: &Home) -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let to = Home::at(dir.path().join("node"));
        to.create().unwrap();
        keys::make_dir(&to.keys()).unwrap();
        for (from, to) in [(from.dir().to_path_buf(), to.dir().to_path_buf()), (from.keys(), to.keys())] {
            for file in fs::read_dir(from).unwrap().map(|file| file.unwrap().path()) {
                if file.is_file() {
                    fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
                }
            }
        }
        (dir, to)
    }

    #[test]
    fn a_rotation_is_staged_and_finished_and_the_old_key_is_gone() {
        let (_dir, home) = home();
        let before = keys::load(&home).unwrap();
        for sequence in 1..=3 {
            let prepared = prepare(&home, None).unwrap();
            assert_eq!(prepared.rotation.sequence, sequence);
            stage(&home, &prepared).unwrap();
            let staged = keys::load(&home).unwrap();
            assert_eq!(staged.rotations.last(), Some(&prepared.rotation));
            assert_eq!(staged.successor.as_ref().unwrap().public(), prepared.rotation.key);
            assert!(matches!(prepare(&home, None), Err(KeyError::UnderWay)));
            finish(&home).unwrap();
            let after = keys::load(&home).unwrap();
            assert_eq!(
                (after.inception, after.identity.public()),
                (before.inception.clone(), prepared.key.public())
            );
            assert!(after.successor.is_none());
        }
        let left: Vec<_> = fs::read_dir(home.keys()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn wherever_it_ends_half_way_it_goes_on_with_the_same_rotation() {
        let (_dir, home) = home();
        let prepared = prepare(&home, None).unwrap();
        // Nothing was said before rotations.json: then it is prepared anew, with the keys that are there.
        let (_keep, first) = copy(&home);
        put_key(&next_new(&first), KeyKind::Next, &prepared.after).unwrap();
        tidy(&first).unwrap();
        assert!(keys::load(&first).unwrap().successor.is_none());
        assert_eq!(prepare(&first, None).unwrap().rotation, prepared.rotation);
        put_key(&identity_new(&first), KeyKind::Identity, &prepared.key).unwrap();
        tidy(&first).unwrap();
        assert_eq!(prepare(&first, None).unwrap().rotation, prepared.rotation);

        stage(&home, &prepared).unwrap();
        tidy(&home).unwrap();
        assert_eq!(keys::load(&home).unwrap().successor.unwrap().public(), prepared.rotation.key);
        // Between the two steps of the end.
        fs::rename(identity_new(&home), home.keys().join("identity.key")).unwrap();
        let keys = keys::load(&home).unwrap();
        assert_eq!((keys.identity.public(), keys.successor.is_none()), (prepared.rotation.key, true));
        tidy(&home).unwrap();
        assert!(!next_new(&home).exists());
        assert_eq!(prepare(&home, None).unwrap().rotation.sequence, 2);
        finish(&home).unwrap();
        tidy(&home).unwrap();
    }

    #[test]
    fn the_next_key_may_lie_elsewhere_and_must_be_the_one_that_was_committed_to() {
        let (dir, home) = home();
        let (place, elsewhere) = (home.keys().join("next.key"), dir.path().join("offline.key"));
        fs::rename(&place, &elsewhere).unwrap();
        let missing = prepare(&home, None).unwrap_err().to_string();
        assert!(missing.contains("next.key") && missing.contains("--next-key"), "{missing}");
        write_key(&place, KeyKind::Next, &random_key().unwrap()).unwrap();
        let other = prepare(&home, None).unwrap_err().to_string();
        assert!(other.contains("not the key that this node has committed to"), "{other}");
        let prepared = prepare(&home, Some(&elsewhere)).unwrap();
        stage(&home, &prepared).unwrap();
        finish(&home).unwrap();
        assert_eq!(keys::load(&home).unwrap().identity.public(), prepared.rotation.key);
        prepare(&home, None).unwrap();
    }

    #[test]
    fn files_that_do_not_belong_together_are_named() {
        let (_dir, home) = home();
        let prepared = prepare(&home, None).unwrap();
        stage(&home, &prepared).unwrap();
        let (_keep, torn) = copy(&home);
        fs::remove_file(identity_new(&torn)).unwrap();
        let text = keys::load(&torn).unwrap_err().to_string();
        assert!(text.contains("identity.new.key") && text.contains("rotations.json"), "{text}");
        fs::write(home.rotations(), "[1]").unwrap();
        let text = keys::load(&home).unwrap_err().to_string();
        assert!(text.contains("rotations.json: it is not a list of rotations"), "{text}");
    }
}
