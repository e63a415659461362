//! Where the members of compressed shards are kept.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

/// Members beyond this many bytes in all go to a temporary file.
const MAX_MEMORY_BYTES: usize = 256 << 20;

/// Where the bytes of a member begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the shard itself.
    Shard(u64),
    /// In the spool's memory.
    Memory(usize),
    /// In the spool's file.
    Spilled(u64),
}

/// Members one after the other, at first in memory, then in an unnamed temporary file that vanishes with the process.
#[derive(Debug)]
pub(super) struct Spool {
    memory: Vec<u8>,
    max_memory_bytes: usize,
    // A lock, because a file has one position; reads are as long as one picture.
    file: Option<Mutex<File>>,
    file_bytes: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self::with_memory(MAX_MEMORY_BYTES)
    }
}

impl Spool {
    pub(super) fn with_memory(max_memory_bytes: usize) -> Self {
        Self {
            memory: Vec::new(),
            max_memory_bytes,
            file: None,
            file_bytes: 0,
        }
    }

    /// Takes everything that `reader` gives; returns where it lies and how long it is.
    pub(super) fn append(&mut self, reader: &mut impl Read) -> std::io::Result<(Place, u64)> {
        if self.memory.len() < self.max_memory_bytes {
            let start = self.memory.len();
            let length = reader.read_to_end(&mut self.memory)?;
            return Ok((Place::Memory(start), length as u64));
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Mutex::new(tempfile::tempfile()?)),
        };
        let file = file.get_mut().unwrap_or_else(PoisonError::into_inner);
        let start = self.file_bytes;
        file.seek(SeekFrom::Start(start))?;
        let length = std::io::copy(reader, file)?;
        self.file_bytes += length;
        Ok((Place::Spilled(start), length))
    }

    /// The `length` bytes at `place`, which must be one that [`Spool::append`] gave.
    pub(super) fn read(&self, place: Place, length: usize) -> std::io::Result<Vec<u8>> {
        let gone = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        match place {
            Place::Memory(start) => self
                .memory
                .get(start..start + length)
                .map(<[u8]>::to_vec)
                .ok_or_else(gone),
            Place::Spilled(start) => {
                let file = self.file.as_ref().ok_or_else(gone)?;
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(start))?;
                let mut bytes = vec![0; length];
                file.read_exact(&mut bytes)?;
                Ok(bytes)
            }
            Place::Shard(_) => Err(gone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_goes_to_a_file_and_comes_back() {
        let mut spool = Spool::with_memory(10);
        let parts: Vec<Vec<u8>> = (1..8_u8)
            .map(|length| vec![length; usize::from(length)])
            .collect();
        let places: Vec<_> = parts
            .iter()
            .map(|part| spool.append(&mut part.as_slice()).unwrap())
            .collect();
        assert!(
            matches!(places[3].0, Place::Memory(6)) && matches!(places[4].0, Place::Spilled(0))
        );
        for (part, (place, length)) in parts.iter().zip(&places).rev() {
            assert_eq!(spool.read(*place, *length as usize).unwrap(), *part);
        }
    }
}
