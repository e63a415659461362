//! sRGB and linear light (IEC 61966-2-1). Coverage is averaged in linear light, pictures are sRGB.

/// Linear light of a display value, both 0..1.
pub fn srgb_to_linear(value: f32) -> f32 {
    if value <= 0.040_45 {
        value / 12.92
    } else {
        ((value + 0.055) / 1.055).powf(2.4)
    }
}

/// The display value of linear light, both 0..1; what is outside is clamped.
pub fn linear_to_srgb(value: f32) -> f32 {
    let value = value.clamp(0.0, 1.0);
    if value <= 0.003_130_8 {
        value * 12.92
    } else {
        1.055 * value.powf(1.0 / 2.4) - 0.055
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for byte in 0..=255 {
            let value = f32::from(byte as u8) / 255.0;
            assert!((linear_to_srgb(srgb_to_linear(value)) - value).abs() < 1e-5);
        }
        // Half of the light of white is display value 188.
        assert!((linear_to_srgb(0.5) * 255.0 - 187.5).abs() < 0.5);
        assert_eq!(linear_to_srgb(-1.0), 0.0);
        assert!((linear_to_srgb(2.0) - 1.0).abs() < 1e-6);
    }
}
