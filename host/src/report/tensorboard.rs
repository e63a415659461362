//! TensorBoard event files: scalars and pictures.
//!
//! An event file is a sequence of records (length, checksum, data, checksum: the TFRecord framing),
//! each of which holds one `Event` message in protocol-buffer encoding.

mod proto;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use image::RgbImage;
use prost::Message;

use super::append::AppendFile;
use super::metrics::Metrics;
use super::picture::png_bytes;
use crate::run_dir::RunDirError;
use proto::{Event, Image, SessionLog, Summary, SummaryValue, What};

/// `SessionLog.status`: a program (re)starts.
const START: i32 = 1;

/// Writes one event file.
///
/// Unlike `metrics.jsonl`, whose lines after the resumed step are taken out, a resumed run begins
/// another event file with a mark "restarted at this step": TensorBoard then drops what the files
/// before it hold of later steps. A file is never edited, since a TensorBoard may be reading it.
#[derive(Debug)]
pub struct EventWriter(AppendFile);

impl EventWriter {
    /// Begins the event file of a new run in `folder`.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`].
    pub fn create(folder: &Path) -> Result<Self, RunDirError> {
        let mut file = AppendFile::create(&next_path(folder)?)?;
        file.append(&record(&Event {
            wall_time: wall_time(),
            step: 0,
            what: Some(What::FileVersion("brain.Event:2".into())),
        }))?;
        Ok(Self(file))
    }

    /// Begins the event file of a run resumed after step `step`.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`].
    pub fn resume(folder: &Path, step: u64) -> Result<Self, RunDirError> {
        let mut writer = Self::create(folder)?;
        let log = SessionLog { status: START };
        writer.write(step.saturating_add(1), What::SessionLog(log))?;
        Ok(writer)
    }

    /// Writes the values of a step; each is one curve, under its name. TensorBoard keeps them in
    /// single precision.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`]; the file then ends with the record before.
    pub fn scalars(&mut self, step: u64, metrics: &Metrics) -> Result<(), RunDirError> {
        let value = metrics
            .iter()
            .map(|(tag, value)| SummaryValue {
                tag: tag.into(),
                simple_value: Some(value.as_f64() as f32),
                image: None,
            })
            .collect();
        self.write(step, What::Summary(Summary { value }))
    }

    /// Writes a picture of a step under `tag`.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`]; the file then ends with the record before.
    pub fn image(&mut self, step: u64, tag: &str, picture: &RgbImage) -> Result<(), RunDirError> {
        let image = Image {
            height: picture.height() as i32,
            width: picture.width() as i32,
            colorspace: 3,
            encoded_image_string: png_bytes(picture),
        };
        let value = vec![SummaryValue {
            tag: tag.into(),
            simple_value: None,
            image: Some(image),
        }];
        self.write(step, What::Summary(Summary { value }))
    }

    fn write(&mut self, step: u64, what: What) -> Result<(), RunDirError> {
        self.0.append(&record(&Event {
            wall_time: wall_time(),
            step: i64::try_from(step).unwrap_or(i64::MAX),
            what: Some(what),
        }))
    }
}

fn wall_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// `events.out.tfevents.<seconds>.<number>`. TensorBoard reads the files of a folder in the order
/// of their names and never goes back, so each name comes after all others, whatever the clock did.
fn next_path(folder: &Path) -> Result<PathBuf, RunDirError> {
    const PREFIX: &str = "events.out.tfevents.";
    let entries = fs::read_dir(folder).map_err(|error| RunDirError::io("list", folder, error))?;
    let mut seconds = wall_time() as u64;
    let mut number = 0;
    for entry in entries {
        let entry = entry.map_err(|error| RunDirError::io("list", folder, error))?;
        let name = entry.file_name();
        let Some((past_seconds, past_number)) = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split_once('.'))
            .and_then(|(a, b)| Some((a.parse::<u64>().ok()?, b.parse::<u64>().ok()?)))
        else {
            continue;
        };
        seconds = seconds.max(past_seconds);
        number = number.max(past_number.saturating_add(1));
    }
    Ok(folder.join(format!("{PREFIX}{seconds:010}.{number:04}")))
}

/// Frames one event.
fn record(event: &Event) -> Vec<u8> {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(&data);
    record.extend(masked_crc(&data).to_le_bytes());
    record
}

/// The checksum of the framing: CRC-32C, rotated and shifted so that the checksum of data which
/// holds checksums stays useful.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a file back by the framing's own rules.
    fn read(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let (length, tail) = rest.split_at(8);
            let (crc, tail) = tail.split_at(4);
            assert_eq!(crc, masked_crc(length).to_le_bytes());
            let size = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            let (data, tail) = tail.split_at(size);
            let (crc, tail) = tail.split_at(4);
            assert_eq!(crc, masked_crc(data).to_le_bytes());
            events.push(Event::decode(data).unwrap());
            rest = tail;
        }
        events
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths
    }

    /// Known answer: the first record that any writer of this format makes for an event of time
    /// and step 0, checked byte by byte against the layout.
    #[test]
    fn a_record_has_the_published_layout() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let bytes = record(&Event {
            wall_time: 0.0,
            step: 0,
            what: Some(What::FileVersion("brain.Event:2".into())),
        });
        assert_eq!(&bytes[..8], &[15, 0, 0, 0, 0, 0, 0, 0]);
        // Field 3, length-delimited, 13 bytes.
        assert_eq!(&bytes[12..14], &[0x1a, 13]);
        assert_eq!(&bytes[14..27], b"brain.Event:2");
        assert_eq!(bytes.len(), 8 + 4 + 15 + 4);
    }

    #[test]
    fn scalars_and_pictures_are_read_back() {
        let temp = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(temp.path()).unwrap();
        let metrics = Metrics::from_iter([("loss/generator", 0.25), ("gap", 1.5)]);
        writer.scalars(10, &metrics).unwrap();
        let picture = RgbImage::from_pixel(5, 4, image::Rgb([1, 2, 3]));
        writer.image(11, "samples", &picture).unwrap();

        let events = read(&files(temp.path())[0]);
        assert_eq!(events.len(), 3);
        assert!(events[0].wall_time > 1.7e9);
        assert_eq!(events[1].step, 10);
        let Some(What::Summary(summary)) = &events[1].what else {
            panic!("{:?}", events[1]);
        };
        assert_eq!(summary.value[0].tag, "loss/generator");
        assert_eq!(summary.value[0].simple_value, Some(0.25));
        assert_eq!(summary.value[1].simple_value, Some(1.5));
        let Some(What::Summary(summary)) = &events[2].what else {
            panic!("{:?}", events[2]);
        };
        let image = summary.value[0].image.as_ref().unwrap();
        assert_eq!((image.width, image.height), (5, 4));
        let decoded = image::load_from_memory(&image.encoded_image_string).unwrap();
        assert_eq!(decoded.into_rgb8(), picture);
    }

    #[test]
    fn a_resumed_run_begins_a_later_file_with_its_step() {
        let temp = tempfile::tempdir().unwrap();
        // A clock that went back must not put the new file before the old ones.
        let old = temp.path().join("events.out.tfevents.9999999999.0007");
        fs::write(&old, "").unwrap();
        EventWriter::resume(temp.path(), 100).unwrap();
        EventWriter::resume(temp.path(), 150).unwrap();
        let files = files(temp.path());
        assert_eq!(files[0], old);
        let events = read(&files[1]);
        assert_eq!(events[1].step, 101);
        assert_eq!(
            events[1].what,
            Some(What::SessionLog(SessionLog { status: START }))
        );
        assert_eq!(read(&files[2])[1].step, 151);
    }
}
