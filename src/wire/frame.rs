//! Frames: a four-byte length, a header, a body.

use bytes::Bytes;

use crate::{
    ApiKey, Chunk, DecodeError, EncodeError, Message, Reader, RequestHeader, Writer,
    decode_response_header, encode_response_header,
};

/// Size of the length before a frame, which does not count itself.
pub const PREFIX_BYTES: usize = 4;

/// Writes a frame, whose header and body `fill` writes.
pub fn encode_with(
    fill: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Result<Vec<Chunk>, EncodeError> {
    let mut writer = Writer::with_capacity(256);
    writer.i32(0);
    fill(&mut writer)?;
    let length = writer.len() - PREFIX_BYTES;
    let prefix = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
    writer.patch_i32(0, prefix);
    Ok(writer.into_chunks())
}

/// Writes the frame of a response.
pub fn encode_response<'a>(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &impl Message<'a>,
) -> Result<Vec<Chunk>, EncodeError> {
    encode_with(|writer| {
        encode_response_header(writer, api, version, correlation_id);
        body.encode(writer, version)
    })
}

/// Writes the frame of a request.
pub fn encode_request<'a>(
    header: &RequestHeader<'_>,
    body: &impl Message<'a>,
) -> Result<Vec<Chunk>, EncodeError> {
    encode_with(|writer| {
        header.encode(writer)?;
        body.encode(writer, header.version)
    })
}

/// Reads a response's header and body from a frame without its prefix. Gives the correlation
/// id too.
pub fn decode_response<'a, M: Message<'a>>(
    frame: &'a [u8],
    api: ApiKey,
    version: i16,
) -> Result<(i32, M), DecodeError> {
    let mut reader = Reader::new(frame);
    let correlation_id = decode_response_header(&mut reader, api, version)?;
    Ok((correlation_id, M::decode(&mut reader, version)?))
}

/// The pieces of a frame as one.
///
/// # Panics
/// If external records are among them.
pub fn concat(chunks: &[Chunk]) -> Bytes {
    let mut bytes = Vec::with_capacity(chunks.iter().map(Chunk::len).sum());
    for chunk in chunks {
        match chunk {
            Chunk::Bytes(piece) => bytes.extend_from_slice(piece),
            Chunk::External { id, .. } => panic!("the bytes of records {id} are elsewhere"),
        }
    }
    bytes.into()
}
