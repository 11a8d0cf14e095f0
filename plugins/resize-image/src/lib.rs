//! `resize-image`: makes a thumbnail of a PNG or JPEG image.
//!
//! `{"job": "resize-image", "image": "<base64>", "width": 128}` gives an image in the same format
//! that is at most 128 pixels wide; with `height` also at most that high. The proportions stay, a
//! photo taken sideways comes out upright, and no image is ever enlarged.

use std::io::Cursor;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, imageops::FilterType,
    metadata::Orientation,
};
use sentinel_job::{Failure, progress};
use serde::{Deserialize, Serialize};

/// An image of so many pixels is decoded within the 128 MiB that a job has by default, whatever
/// its colours and compression. A small file can hold a huge image.
const MAX_PIXELS: u64 = 8_000_000;

/// The longest side that a thumbnail may be asked to have.
const MAX_SIDE: u32 = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The file in base64.
    image: String,
    width: u32,
    height: Option<u32>,
}

#[derive(Serialize)]
pub(crate) struct Output {
    /// The thumbnail's file in base64.
    image: String,
    format: &'static str,
    width: u32,
    height: u32,
    /// The size of the thumbnail's file.
    bytes: usize,
}

/// Makes a thumbnail of a PNG or JPEG image.
#[sentinel_job::job]
pub(crate) fn run(input: Input) -> Result<Output, Failure> {
    let height = input.height.unwrap_or(MAX_SIDE);
    for side in [input.width, height] {
        if !(1..=MAX_SIDE).contains(&side) {
            let range = format_args!("`width` and `height` are from 1 to {MAX_SIDE}");
            return Err(Failure::permanent(range));
        }
    }

    let file = BASE64_STANDARD
        .decode(input.image)
        .map_err(|error| Failure::permanent(format_args!("`image` is not base64: {error}")))?;
    let (image, orientation, format) = decode(&file)?;
    progress::report(50, "decoded");

    let thumbnail = shrink(image, orientation, input.width, height);
    let mut file = Vec::new();
    thumbnail.write_to(&mut Cursor::new(&mut file), format)?;

    Ok(Output {
        image: BASE64_STANDARD.encode(&file),
        format: if format == ImageFormat::Png { "png" } else { "jpeg" },
        width: thumbnail.width(),
        height: thumbnail.height(),
        bytes: file.len(),
    })
}

/// Decodes a file, having looked at its header first.
fn decode(file: &[u8]) -> Result<(DynamicImage, Orientation, ImageFormat), Failure> {
    let reader = ImageReader::new(Cursor::new(file)).with_guessed_format()?;
    let Some(format @ (ImageFormat::Png | ImageFormat::Jpeg)) = reader.format() else {
        return Err(Failure::permanent("`image` is neither PNG nor JPEG"));
    };
    let broken = |error: ImageError| Failure::permanent(format_args!("`image`: {error}"));

    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Failure::permanent(format_args!(
            "`image` is {width} × {height}: more than {MAX_PIXELS} pixels"
        )));
    }
    let orientation = decoder.orientation().map_err(broken)?;
    let image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    Ok((image, orientation, format))
}

/// Fits the image into a box, unless it fits already, and then turns it upright: in this order,
/// because turning copies the image.
fn shrink(image: DynamicImage, orientation: Orientation, width: u32, height: u32) -> DynamicImage {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let (width, height) = match orientation {
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => (height, width),
        _ => (width, height),
    };
    let mut image = if image.width() > width || image.height() > height {
        image.resize(width, height, FilterType::Lanczos3)
    } else {
        image
    };
    image.apply_orientation(orientation);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(width: u32, height: u32, format: ImageFormat) -> String {
        let mut file = Vec::new();
        let image = DynamicImage::new_rgb8(width, height);
        image.write_to(&mut Cursor::new(&mut file), format).unwrap();
        BASE64_STANDARD.encode(file)
    }

    fn thumbnail(image: String, width: u32, height: Option<u32>) -> Result<Output, Failure> {
        run(Input { image, width, height })
    }

    fn refusal(image: &str, width: u32) -> String {
        match thumbnail(image.into(), width, None) {
            Err(Failure::Permanent(message)) => message,
            Err(other) => panic!("not permanent: {other:?}"),
            Ok(_) => panic!("not refused"),
        }
    }

    #[test]
    fn a_thumbnail_keeps_format_and_proportions() {
        for (format, name) in [(ImageFormat::Png, "png"), (ImageFormat::Jpeg, "jpeg")] {
            let output = thumbnail(file(200, 100, format), 50, None).unwrap();
            assert_eq!((output.width, output.height, output.format), (50, 25, name));

            let bytes = BASE64_STANDARD.decode(output.image).unwrap();
            assert_eq!(bytes.len(), output.bytes);
            let (image, _, again) = decode(&bytes).unwrap();
            assert_eq!((image.width(), image.height(), again), (50, 25, format));
        }
    }

    #[test]
    fn height_bounds_too() {
        let output = thumbnail(file(200, 100, ImageFormat::Png), 50, Some(10)).unwrap();
        assert_eq!((output.width, output.height), (20, 10));
    }

    #[test]
    fn a_small_image_is_not_enlarged() {
        let output = thumbnail(file(20, 10, ImageFormat::Png), 50, None).unwrap();
        assert_eq!((output.width, output.height), (20, 10));
    }

    #[test]
    fn a_sideways_image_is_turned_within_the_box() {
        let image = DynamicImage::new_rgb8(200, 100);
        let image = shrink(image, Orientation::Rotate90, 50, MAX_SIDE);
        assert_eq!((image.width(), image.height()), (50, 100));
    }

    #[test]
    fn a_huge_image_is_refused_before_it_is_decoded() {
        // Only the header is true: the pixels are cut off, and nobody gets to miss them.
        let mut huge = BASE64_STANDARD.decode(file(4000, 2001, ImageFormat::Png)).unwrap();
        huge.truncate(100);
        let message = refusal(&BASE64_STANDARD.encode(huge), 50);
        assert_eq!(message, "`image` is 4000 × 2001: more than 8000000 pixels");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(refusal("%", 50).starts_with("`image` is not base64: "));
        assert_eq!(refusal("AAAA", 50), "`image` is neither PNG nor JPEG");
        let mut cut = file(20, 10, ImageFormat::Png);
        cut.truncate(60);
        assert!(refusal(&cut, 50).starts_with("`image`: "));
    }

    #[test]
    fn the_sides_are_bounded() {
        for width in [0, MAX_SIDE + 1] {
            assert_eq!(refusal("", width), "`width` and `height` are from 1 to 4096");
        }
    }
}
