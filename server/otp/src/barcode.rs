//! The picture of a URL, for the camera of an authenticator.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::{Error, Result, Secret};
use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

/// The light border that readers need, in modules.
const QUIET_MODULES: usize = 4;

/// A square PNG with sides of `size` pixels, in base64. The secret is in it.
///
/// # Errors
/// If the picture is too small for the text.
pub fn png(text: &str, size: u32) -> Result<Secret<String>> {
    let refuse = |why: String| {
        Error::invalid(format!("failed to generate QR code image: {why}; set qr_size to 0 for none"))
    };
    let code = QrCode::with_error_correction_level(text, EcLevel::M)
        .map_err(|_| refuse("the URL is longer than a QR code holds; use a smaller key_size".to_owned()))?;
    let pixels = paint(&code, size as usize).ok_or_else(|| {
        refuse(format!("can not scale barcode to an image smaller than {0}x{0}", code.width()))
    })?;
    encode(&pixels, size)
        .map(|bytes| Secret::new(STANDARD.encode(&*bytes)))
        .map_err(|error| Error::internal(error.to_string()))
}

/// The rows of the picture, one bit a pixel, light set; nothing if it is too small for the code.
fn paint(code: &QrCode, size: usize) -> Option<Zeroizing<Vec<u8>>> {
    let width = code.width();
    if size < width {
        return None;
    }
    let scale = (size / (width + 2 * QUIET_MODULES)).max(1);
    let border = (size - scale * width) / 2;
    let row_size = size.div_ceil(8);
    let mut pixels = Zeroizing::new(vec![0xff; row_size * size]);
    for (y, row) in pixels.chunks_mut(row_size).enumerate() {
        let Some(v) = y.checked_sub(border).map(|y| y / scale).filter(|v| *v < width) else { continue };
        for x in border..border + scale * width {
            if code[((x - border) / scale, v)] == Color::Dark
                && let Some(byte) = row.get_mut(x / 8)
            {
                *byte &= !(0x80 >> (x % 8));
            }
        }
    }
    Some(pixels)
}

fn encode(pixels: &[u8], size: u32) -> Result<Zeroizing<Vec<u8>>, png::EncodingError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut encoder = png::Encoder::new(&mut *bytes, size, size);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}
