//! Every generated message behind one signature.

use ringlog_wire::{DecodeError, EncodeError, Message, Reader, Writer, messages};

/// Decodes all bytes as one version and encodes the result as another.
pub(super) type Recode = fn(&[u8], i16, i16) -> Result<Result<Vec<u8>, EncodeError>, DecodeError>;

/// A generated message.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) min_version: i16,
    pub(super) max_version: i16,
    pub(super) recode: Recode,
    /// Encodes the message as it is when nothing was set.
    pub(super) default: fn(i16) -> Result<Vec<u8>, EncodeError>,
}

fn recode<'a, M: Message<'a>>(
    bytes: &'a [u8],
    from: i16,
    to: i16,
) -> Result<Result<Vec<u8>, EncodeError>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let message = M::decode(&mut reader, from)?;
    reader.finish()?;
    Ok(encode(&message, to))
}

fn encode<'a>(message: &impl Message<'a>, version: i16) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes().to_vec())
}

macro_rules! entries {
    ($($module:ident :: $name:ident,)*) => {
        vec![$(Entry {
            name: <messages::$module::$name as Message<'_>>::NAME,
            min_version: <messages::$module::$name as Message<'_>>::MIN_VERSION,
            max_version: <messages::$module::$name as Message<'_>>::MAX_VERSION,
            recode: |bytes, from, to| recode::<messages::$module::$name>(bytes, from, to),
            default: |version| encode(&messages::$module::$name::default(), version),
        }),*]
    };
}

/// All of them, in the order of their names.
pub(super) fn all() -> Vec<Entry> {
    ringlog_wire::for_each_message!(entries)
}
