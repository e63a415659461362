//! Whether a JPEG is whole.
//!
//! The decoder is lenient by design: a file cut in half comes back as a picture whose lower half is grey. In a training set
//! that is a broken image, so the marker segments (ITU-T T.81, annex B) are walked to the end-of-image marker first.

/// Passes when the marker segments of `bytes` lead to an end-of-image marker; what follows that marker does not matter.
pub(super) fn check_complete(bytes: &[u8]) -> Result<(), String> {
    const START_OF_SCAN: u8 = 0xDA;
    const END_OF_IMAGE: u8 = 0xD9;
    let cut = || "the JPEG is cut short: it has no end-of-image marker".to_owned();

    let mut at = 2; // Past the start-of-image marker, by which the format was told.
    let mut scans = 0;
    loop {
        // Any number of fill bytes may stand before a marker.
        while bytes.get(at) == Some(&0xFF) && bytes.get(at + 1) == Some(&0xFF) {
            at += 1;
        }
        let marker = match (bytes.get(at), bytes.get(at + 1)) {
            (Some(0xFF), Some(&marker)) => marker,
            (Some(_), Some(_)) => {
                return Err(format!("the JPEG is damaged: no marker at byte {at}"));
            }
            _ => return Err(cut()),
        };
        at += 2;
        match marker {
            END_OF_IMAGE if scans == 0 => {
                return Err("the JPEG is damaged: it holds no picture data".to_owned());
            }
            END_OF_IMAGE => return Ok(()),
            // Markers without a segment: TEM and the restart markers.
            0x01 | 0xD0..=0xD7 => continue,
            _ => {}
        }
        let length = match (bytes.get(at), bytes.get(at + 1)) {
            (Some(&high), Some(&low)) => usize::from(u16::from_be_bytes([high, low])),
            _ => return Err(cut()),
        };
        if length < 2 {
            return Err(format!(
                "the JPEG is damaged: a segment of length {length} at byte {at}"
            ));
        }
        at += length;
        if marker == START_OF_SCAN {
            scans += 1;
            at = end_of_scan(bytes, at).ok_or_else(cut)?;
        }
    }
}

/// The place of the marker that ends the entropy-coded data from `at` on; a stuffed zero and restart markers belong to the data.
fn end_of_scan(bytes: &[u8], at: usize) -> Option<usize> {
    let data = bytes.get(at..)?;
    data.windows(2)
        .position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xD0..=0xD7))
        .map(|offset| at + offset)
}
