//! What a run of tests and its worker processes say to each other: postcard messages, each behind its length.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::TestRun;

/// A test file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct TestFile {
    /// What pytest is given to find the tests: the file's path, or node ids in it.
    pub(crate) arguments: Vec<String>,
    pub(crate) path: String,
}

/// To a worker.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Request {
    /// What comes first: how tests are run.
    Start(Box<TestRun>),
    Run(TestFile),
    /// There are no more files.
    Finish,
    /// No more test is to begin. What the running one has set up is torn down.
    Stop,
    /// Where are the tests?
    Where,
}

/// From a worker. What reports consist of is between the two halves of `spaces/testing`, in `marshal`'s format.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) enum Reply {
    /// It is ready for files.
    Ready,
    /// A test of the file begins.
    Test(String),
    /// Something to be told to pytest.
    Event(Vec<u8>),
    /// The file is done. If it `may_end_run`, no other is to begin before the run has heard all of it.
    Done { result: Vec<u8>, may_end_run: bool },
    /// A test, or the signal for it, ends the whole run.
    Interrupted(Vec<u8>),
    /// What there is to say after the last file.
    Finished(Vec<u8>),
    /// Where the tests are.
    Where(Vec<u8>),
}

/// No message is longer: a stray length would else take all memory.
const LONGEST: usize = 1 << 30;

/// Writes a message whole.
///
/// # Errors
/// What the stream says; `InvalidData` for a message that is too long.
pub(crate) fn send(stream: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let wrong = |error: postcard::Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut frame = postcard::to_extend(message, vec![0; 4]).map_err(wrong)?;
    let length = u32::try_from(frame.len() - 4).ok().filter(|length| *length as usize <= LONGEST);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the message is too long"))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    stream.write_all(&frame)
}

/// The messages that come by a stream.
pub(crate) struct Messages {
    stream: UnixStream,
    /// What was read and is no whole message yet.
    begun: Vec<u8>,
}

impl Messages {
    pub(crate) const fn new(stream: UnixStream) -> Self {
        Self { stream, begun: Vec::new() }
    }

    /// The next message; `None` at the end of the stream.
    ///
    /// # Errors
    /// `TimedOut` when there is none until `deadline`, after which one can go on; `InvalidData` for what is no message.
    pub(crate) fn next<Message: DeserializeOwned>(&mut self, deadline: Option<Instant>) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.whole()? {
                return Ok(Some(message));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // A zero would be no timeout.
            self.stream.set_read_timeout(left.map(|left| left.max(Duration::from_millis(1))))?;
            let mut buffer = [0; 1 << 16];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => self.begun.extend_from_slice(&buffer[..length]),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) => {}
                // A process that was killed may have left what it was sent unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn whole<Message: DeserializeOwned>(&mut self) -> io::Result<Option<Message>> {
        let Some(length) = self.begun.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
        }
        let Some(body) = self.begun.get(4..4 + length) else { return Ok(None) };
        let message = postcard::from_bytes(body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.begun.drain(..4 + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_and_in_order() {
        let (mut one, other) = UnixStream::pair().expect("a pair");
        let mut messages = Messages::new(other);
        let mut bytes = Vec::new();
        for text in ["first", "second"] {
            send(&mut bytes, &Reply::Test(text.to_owned())).expect("it is short");
        }
        let soon = || Some(Instant::now() + Duration::from_millis(5));
        for (number, byte) in bytes.iter().enumerate() {
            let before = messages.next::<Reply>(soon());
            // The first message has nine bytes of text and lengths before it: 4 + 1 + 1 + 5.
            if number == 11 {
                assert!(matches!(before, Ok(Some(Reply::Test(text))) if text == "first"));
            } else {
                assert_eq!(before.expect_err("it is not whole").kind(), io::ErrorKind::TimedOut);
            }
            one.write_all(&[*byte]).expect("there is room");
        }
        assert!(matches!(messages.next(None), Ok(Some(Reply::Test(text))) if text == "second"));
        one.write_all(&[0xff; 8]).expect("there is room");
        assert_eq!(messages.next::<Reply>(None).expect_err("too long").kind(), io::ErrorKind::InvalidData);
        drop(one);
        let mut ended = Messages::new(messages.stream);
        assert!(ended.next::<Reply>(None).expect("it ended").is_none());
    }
}
