//! Frames: a four-byte length, a header, a body.

use bytes::Bytes;

use crate::{
    ApiKey, Chunk, DecodeError, EncodeError, Encoded, Message, Reader, RequestHeader, Writer,
    decode_response_header, encode_response_header,
};

/// Size of the length before a frame, which does not count itself.
pub const PREFIX_BYTES: usize = 4;

/// Writes a frame, whose header and body `fill` writes.
pub fn encode_with(
    fill: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Result<Encoded, EncodeError> {
    let mut writer = Writer::with_capacity(256);
    writer.i32(0);
    fill(&mut writer)?;
    let length = writer.len() - PREFIX_BYTES;
    let prefix = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
    writer.patch_i32(0, prefix);
    Ok(writer.into_encoded())
}

/// Writes the frame of a response.
pub fn encode_response<'a>(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &impl Message<'a>,
) -> Result<Encoded, EncodeError> {
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
    .map(|encoded| encoded.chunks)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Records;
    use crate::messages::api_versions_request::ApiVersionsRequest;
    use crate::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
    use crate::messages::produce_request::{
        PartitionProduceData, ProduceRequest, TopicProduceData,
    };

    #[test]
    fn a_request_as_librdkafka_sends_it() {
        let header = RequestHeader {
            api: ApiKey::ApiVersions,
            version: 3,
            correlation_id: 1,
            client_id: Some("rdkafka".into()),
        };
        let body = ApiVersionsRequest {
            client_software_name: "librdkafka".into(),
            client_software_version: "2.0.2".into(),
        };
        let chunks = encode_request(&header, &body).expect("fits");
        let expected = [
            &[0, 0, 0, 0x24, 0, 18, 0, 3, 0, 0, 0, 1, 0, 7][..],
            b"rdkafka",
            &[0, 11],
            b"librdkafka",
            &[6],
            b"2.0.2",
            &[0],
        ];
        assert_eq!(concat(&chunks), expected.concat());
    }

    #[test]
    fn a_response_there_and_back() {
        let key = ApiVersion { api_key: 1, min_version: 0, max_version: 18 };
        let body = ApiVersionsResponse { api_keys: vec![key], ..Default::default() };
        let chunks = encode_response(ApiKey::ApiVersions, 3, 9, &body).expect("fits").chunks;
        let bytes = concat(&chunks);
        assert_eq!(bytes[..4], (bytes.len() as i32 - 4).to_be_bytes());
        // A flexible body behind a header that is not.
        assert_eq!(bytes[4..], [0, 0, 0, 9, 0, 0, 2, 0, 1, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decode_response(&bytes[4..], ApiKey::ApiVersions, 3), Ok((9, body)));
    }

    #[test]
    fn the_prefix_counts_records_that_are_elsewhere() {
        let partition = PartitionProduceData {
            index: 0,
            records: Some(Records::External { id: 1, len: 5000 }),
        };
        let topic = TopicProduceData {
            name: "t".into(),
            partition_data: vec![partition],
            ..Default::default()
        };
        let body = ProduceRequest { acks: 1, topic_data: vec![topic], ..Default::default() };
        let api = ApiKey::Produce;
        let header = RequestHeader { api, version: 9, correlation_id: 1, client_id: None };
        let chunks = encode_request(&header, &body).expect("fits");
        let Chunk::Bytes(first) = &chunks[0] else { panic!("bytes first") };
        let total: usize = chunks.iter().map(Chunk::len).sum();
        assert_eq!(first[..4], (total as i32 - 4).to_be_bytes());
        assert_eq!(chunks.len(), 3);
    }
}
