//! Questions and answers about addresses, among members: `/frith/addresses/1`.

use std::io;

use frith_protocol::encoding::{decode, encode};
use frith_protocol::identity::PublicKey;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::{self, ProtocolSupport};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::limits;

/// The protocol of addresses.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/frith/addresses/1");

/// «Here is my record. Whom do you know, in particular of these?»
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    /// The asker's own record; none if it cannot be dialled.
    pub(super) own: Option<Vec<u8>>,
    /// Whom the asker looks for.
    pub(super) wants: Vec<PublicKey>,
}

/// «These records.»
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Signed records: the answerer's own, those that were asked for, and some more.
    pub(super) records: Vec<Vec<u8>>,
}

/// Reads and writes them, within bounds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Codec;

/// The behaviour that carries them.
pub(super) type Behaviour = request_response::Behaviour<Codec>;

/// A new one.
pub(super) fn behaviour() -> Behaviour {
    let config = request_response::Config::default().with_max_concurrent_streams(limits::ADDRESS_STREAMS_MAX);
    request_response::Behaviour::new([(PROTOCOL, ProtocolSupport::Full)], config)
}

async fn read<T: Serialize + DeserializeOwned>(
    what: &'static str,
    io: &mut (impl AsyncRead + Unpin + Send),
    max: usize,
) -> io::Result<T> {
    let mut bytes = Vec::new();
    // One byte more than allowed, so that too long is told from just long enough.
    io.take(max as u64 + 1).read_to_end(&mut bytes).await?;
    decode(what, &bytes, max).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Question;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Question>
    where
        T: AsyncRead + Unpin + Send,
    {
        let question: Question = read("a question about addresses", io, limits::QUESTION_BYTES_MAX).await?;
        if question.wants.len() > limits::WANTS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it asks for too many peers"));
        }
        Ok(question)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        let answer: Answer = read("an answer about addresses", io, limits::ANSWER_BYTES_MAX).await?;
        if answer.records.len() > limits::RECORDS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it has too many records"));
        }
        Ok(answer)
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, question: Question) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&encode(&question)).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, answer: Answer) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&encode(&answer)).await
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;
    use libp2p::request_response::Codec as _;

    use super::*;

    #[tokio::test]
    async fn the_longest_question_and_answer_are_within_their_bounds() {
        let record = vec![0xff; limits::RECORD_BYTES_MAX];
        let question =
            Question { own: Some(record.clone()), wants: vec![PublicKey([0xff; 32]); limits::WANTS_MAX] };
        let mut bytes = Vec::new();
        Codec.write_request(&PROTOCOL, &mut bytes, question.clone()).await.unwrap();
        assert_eq!(Codec.read_request(&PROTOCOL, &mut Cursor::new(bytes)).await.unwrap(), question);
        let answer = Answer { records: vec![record; limits::RECORDS_MAX] };
        let mut bytes = Vec::new();
        Codec.write_response(&PROTOCOL, &mut bytes, answer.clone()).await.unwrap();
        assert_eq!(Codec.read_response(&PROTOCOL, &mut Cursor::new(bytes)).await.unwrap(), answer);
    }

    #[tokio::test]
    async fn what_is_beyond_the_bounds_is_refused() {
        let many = Question { own: None, wants: vec![PublicKey::default(); limits::WANTS_MAX + 1] };
        assert!(Codec.read_request(&PROTOCOL, &mut Cursor::new(encode(&many))).await.is_err());
        let many = Answer { records: vec![Vec::new(); limits::RECORDS_MAX + 1] };
        assert!(Codec.read_response(&PROTOCOL, &mut Cursor::new(encode(&many))).await.is_err());
        let mut trailing = encode(&Answer { records: Vec::new() });
        trailing.push(0);
        assert!(Codec.read_response(&PROTOCOL, &mut Cursor::new(trailing)).await.is_err());
        let endless = vec![0; limits::QUESTION_BYTES_MAX + 100];
        let error = Codec.read_request(&PROTOCOL, &mut Cursor::new(endless)).await.unwrap_err();
        assert!(error.to_string().contains("at most"), "{error}");
    }
}
