//! GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d), the field of the Reed-Solomon crate.
//!
//! Owns: multiplication, inversion and the inverse of small matrices. Not: loops over bytes ([`super::kernel`]).

const POLYNOMIAL: u16 = 0x11d;

/// Product of two elements, bit by bit: the definition.
pub const fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product) = (a as u16, b, 0u16);
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a <<= 1;
        if a & 0x100 != 0 {
            a ^= POLYNOMIAL;
        }
        b >>= 1;
    }
    product as u8
}

/// The element whose product with `a` is 1; 0 for 0.
pub fn invert(a: u8) -> u8 {
    // a^254 = a^-1 in a field of 256 elements.
    let mut power = a;
    let mut result = 1;
    for bit in 0..8 {
        if 254 >> bit & 1 == 1 {
            result = multiply(result, power);
        }
        power = multiply(power, power);
    }
    result
}

/// The inverse of a square matrix by Gauss-Jordan elimination; `None` if it has none.
pub fn invert_matrix(rows: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let n = rows.len();
    let mut work: Vec<Vec<u8>> =
        rows.iter().enumerate().map(|(i, row)| row.iter().copied().chain((0..n).map(|j| u8::from(i == j))).collect()).collect();
    for column in 0..n {
        let pivot = (column..n).find(|&r| work.get(r).and_then(|row| row.get(column)).is_some_and(|&x| x != 0))?;
        work.swap(column, pivot);
        let mut row = work.get(column)?.clone();
        let scale = invert(*row.get(column)?);
        for x in &mut row {
            *x = multiply(*x, scale);
        }
        for (r, other) in work.iter_mut().enumerate() {
            if r == column {
                continue;
            }
            let factor = *other.get(column)?;
            for (x, y) in other.iter_mut().zip(&row) {
                *x ^= multiply(factor, *y);
            }
        }
        *work.get_mut(column)? = row;
    }
    Some(work.into_iter().map(|row| row.into_iter().skip(n).collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        for a in 1..=255 {
            assert_eq!(multiply(a, invert(a)), 1);
        }
        assert_eq!(invert(0), 0);
    }

    #[test]
    fn a_singular_matrix_has_none() {
        assert_eq!(invert_matrix(&[vec![1, 2], vec![1, 2]]), None);
        assert_eq!(invert_matrix(&[vec![0, 1], vec![1, 0]]), Some(vec![vec![0, 1], vec![1, 0]]));
    }
}
