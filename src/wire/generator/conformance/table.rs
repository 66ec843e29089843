//! Every generated message behind one signature.

use ringlog_wire::{DecodeError, EncodeError, Message, Reader, Writer, frame, messages};

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
    /// Sets the throttle time in its bytes, if it has one.
    pub(super) throttle: fn(&[u8], i16, i32) -> Option<Vec<u8>>,
    pub(super) throttle_time_ms: fn(&[u8], i16) -> Option<i32>,
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

/// Sets the throttle time of a well-formed message where the writer says that it stands, as in an
/// answer that is kept. `None` if it says nothing of it.
fn throttle<'a, M: Message<'a>>(bytes: &'a [u8], version: i16, ms: i32) -> Option<Vec<u8>> {
    let message = M::decode(&mut Reader::new(bytes), version).expect("well formed");
    let (mut frame, mut body) = (Writer::new(), Writer::new());
    message.encode(&mut body, version).expect("it was read");
    // Something stands before it, as the length and the header of a frame do.
    frame.i64(0);
    frame.body(&body.into_body());
    let encoded = frame.into_encoded();
    let at = encoded.throttle_time_at?;
    let mut bytes = frame::concat(&encoded.chunks).to_vec();
    bytes[at..at + 4].copy_from_slice(&ms.to_be_bytes());
    Some(bytes.split_off(8))
}

fn throttle_time_ms<'a, M: Message<'a>>(bytes: &'a [u8], version: i16) -> Option<i32> {
    M::decode(&mut Reader::new(bytes), version).expect("well formed").throttle_time_ms()
}

macro_rules! entries {
    ($($module:ident :: $name:ident,)*) => {
        vec![$(Entry {
            name: <messages::$module::$name as Message<'_>>::NAME,
            min_version: <messages::$module::$name as Message<'_>>::MIN_VERSION,
            max_version: <messages::$module::$name as Message<'_>>::MAX_VERSION,
            recode: |bytes, from, to| recode::<messages::$module::$name>(bytes, from, to),
            default: |version| encode(&messages::$module::$name::default(), version),
            throttle: |bytes, version, ms| throttle::<messages::$module::$name>(bytes, version, ms),
            throttle_time_ms: |bytes, version| {
                throttle_time_ms::<messages::$module::$name>(bytes, version)
            },
        }),*]
    };
}

/// All of them, in the order of their names.
pub(super) fn all() -> Vec<Entry> {
    ringlog_wire::for_each_message!(entries)
}
