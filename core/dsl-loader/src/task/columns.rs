//! The columns of a split, held against what the task's description says of them.

use crate::{ColumnRole, ColumnSpec, DType, Injection, TaskDescription};

use super::injections::Mismatch;

/// How long one axis of a column has to be.
#[derive(Clone, Copy)]
enum Axis {
    /// Any fixed length above 0; the name is for messages.
    Any(&'static str),
    /// As long as this.
    Is(Option<u64>),
}

/// Type and shape that a column may have.
struct Form {
    dtype: DType,
    axes: Vec<Axis>,
}

fn form<const AXES: usize>(dtype: DType, axes: [Axis; AXES]) -> Form {
    let axes = axes.to_vec();
    Form { dtype, axes }
}

impl Form {
    fn fits(&self, column: &ColumnSpec) -> bool {
        let mut axes = self.axes.iter().zip(&column.shape);
        self.dtype == column.dtype
            && self.axes.len() == column.shape.len()
            && axes.all(|(axis, length)| match axis {
                Axis::Any(_) => length.is_some_and(|length| length > 0),
                Axis::Is(expected) => expected == length,
            })
    }

    fn show(&self) -> String {
        let axes = self.axes.iter().map(|axis| match axis {
            Axis::Any(name) => (*name).to_owned(),
            Axis::Is(length) => show_length(*length),
        });
        show(self.dtype, axes)
    }
}

fn show_length(length: Option<u64>) -> String {
    length.map_or_else(|| "_".to_owned(), |length| length.to_string())
}

fn show(dtype: DType, axes: impl Iterator<Item = String>) -> String {
    format!("{dtype} [{}]", axes.collect::<Vec<_>>().join(", "))
}

fn show_column(column: &ColumnSpec) -> String {
    show(column.dtype, column.shape.iter().copied().map(show_length))
}

/// The columns that the description speaks of are there, and of the form that it needs.
pub(super) fn check_columns(
    description: &TaskDescription,
    columns: &[ColumnSpec],
) -> Result<(), Mismatch> {
    let find = |name: &str, what: &str| {
        let names = || columns.iter().map(|column| format!("`{}`", column.name));
        (columns.iter().find(|column| column.name == name)).ok_or_else(|| Mismatch {
            expected: format!("the {what} column `{name}`"),
            found: format!("only {}", names().collect::<Vec<_>>().join(", ")),
        })
    };
    let target = Target::new(find(&description.target, "target")?, description)?;
    let of_boxes = |name: &str| {
        let boxes = columns.iter().find(|column| column.name == name);
        boxes.and_then(|column| column.shape.first().copied().flatten())
    };
    for injection in &description.injections {
        let kind = injection.kind();
        for (name, forms) in forms(injection, &target, of_boxes) {
            let column = find(name, kind)?;
            if name == description.target {
                return Err(Mismatch {
                    expected: format!("a column beside the target for injection {kind}"),
                    found: format!("the target `{name}`"),
                });
            }
            if !forms.iter().any(|form| form.fits(column)) {
                let forms: Vec<_> = forms.iter().map(Form::show).collect();
                return Err(Mismatch {
                    expected: format!("{} in `{name}` for injection {kind}", forms.join(" or ")),
                    found: show_column(column),
                });
            }
        }
        needs(injection, &target, has_text(description, columns))?;
    }
    Ok(())
}

/// Whether a text column goes into cross-attention, and so through a text encoder.
fn has_text(description: &TaskDescription, columns: &[ColumnSpec]) -> bool {
    description.injections.iter().any(|injection| {
        matches!(injection, Injection::CrossAttention { column, .. }
            if columns.iter().any(|spec| spec.name == *column && spec.dtype == DType::Text))
    })
}

/// What is known of the target.
struct Target<'a> {
    column: &'a ColumnSpec,
    /// Rows of a sample in the network, where it is made of several.
    rows: Option<u64>,
    /// Height and width, where it is a picture.
    size: Option<[Axis; 2]>,
    /// Domains that the rows are of.
    domains: u64,
}

impl<'a> Target<'a> {
    fn new(column: &'a ColumnSpec, description: &TaskDescription) -> Result<Self, Mismatch> {
        let (rows, size) = match (column.role, &column.shape[..]) {
            (ColumnRole::Image, [_, height, width]) => (None, Some([*height, *width])),
            (ColumnRole::Image, [rows @ Some(1..), _, height, width]) => {
                (*rows, Some([*height, *width]))
            }
            (ColumnRole::Vector, [_]) => (None, None),
            _ => return Err(Self::other_than(column)),
        };
        if column.dtype != DType::F32 {
            return Err(Self::other_than(column));
        }
        let domains = description.injections.iter().find_map(|injection| {
            let Injection::MultiView { domains, .. } = injection else {
                return None;
            };
            Some(*domains)
        });
        Ok(Self {
            column,
            rows,
            size: size.map(|size| size.map(Axis::Is)),
            domains: domains.unwrap_or(1).max(1),
        })
    }

    fn other_than(column: &ColumnSpec) -> Mismatch {
        Mismatch {
            expected: format!(
                "target `{}` as an image, f32 [channels, height, width] or [rows, channels, height, width], or as a vector, \
                 f32 [dimensions]",
                column.name
            ),
            found: format!("{} of role {:?}", show_column(column), column.role),
        }
    }

    /// The forms, and the same with one for each row of a sample.
    fn or_for_each_row(&self, mut forms: Vec<Form>) -> Vec<Form> {
        if self.rows.is_some() {
            let of_rows: Vec<_> = (forms.iter())
                .map(|form| Form {
                    dtype: form.dtype,
                    axes: [&[Axis::Is(self.rows)], &form.axes[..]].concat(),
                })
                .collect();
            forms.extend(of_rows);
        }
        forms
    }

    /// Pictures of the target's size.
    fn pictures(&self) -> Vec<Form> {
        // A target that is no picture is told by `needs`.
        let [height, width] = self
            .size
            .unwrap_or([Axis::Any("height"), Axis::Any("width")]);
        vec![form(DType::F32, [Axis::Any("channels"), height, width])]
    }
}

/// The columns of an injection with the forms that each may have; `length_of` gives the first length of a column.
fn forms<'a>(
    injection: &'a Injection,
    target: &Target<'_>,
    length_of: impl Fn(&str) -> Option<u64>,
) -> Vec<(&'a str, Vec<Form>)> {
    use Axis::{Any, Is};
    use DType::{F32, I64, Text};
    match injection {
        Injection::CrossAttention { column, .. } => {
            let tokens = vec![
                form(Text, []),
                form(F32, [Any("features")]),
                form(F32, [Any("tokens"), Any("features")]),
            ];
            vec![(column, target.or_for_each_row(tokens))]
        }
        Injection::ClassLabel { column, .. } => vec![(column, vec![form(I64, [])])],
        Injection::ConcatChannels { column, .. } => {
            vec![(column, target.or_for_each_row(target.pictures()))]
        }
        Injection::FeaturePyramid { column, .. } => vec![(column, target.pictures())],
        Injection::GroundingTokens {
            boxes,
            phrases,
            mask,
            ..
        } => {
            let most = length_of(boxes);
            vec![
                (boxes, vec![form(F32, [Any("most boxes"), Is(Some(4))])]),
                (phrases, vec![form(Text, [Is(most)])]),
                (mask, vec![form(F32, [Is(most)])]),
            ]
        }
        Injection::ViewVolume { projections, .. } => {
            let views = target.rows.map(|rows| rows / target.domains);
            // Without rows there are no views, which `needs` tells.
            let views = views.map_or(Any("views"), |views| Is(Some(views)));
            let matrices = form(F32, [views, Is(Some(3)), Is(Some(4))]);
            vec![(projections, vec![matrices])]
        }
        Injection::CameraPose { column, .. } => {
            let numbers = vec![form(F32, [Any("numbers")])];
            vec![(column, target.or_for_each_row(numbers))]
        }
        Injection::CameraRegression {
            elevation,
            inverse_focal,
            ..
        } => {
            let number = || vec![form(F32, [])];
            vec![(elevation, number()), (inverse_focal, number())]
        }
        Injection::LearnedTokens { .. } | Injection::MultiView { .. } => vec![],
    }
}

/// What an injection needs of the target and of the other injections.
fn needs(injection: &Injection, target: &Target<'_>, has_text: bool) -> Result<(), Mismatch> {
    let needed = match injection {
        Injection::GroundingTokens { .. } | Injection::LearnedTokens { .. } if !has_text => {
            return Err(Mismatch {
                expected: format!(
                    "injection cross_attention of a text column beside {}",
                    injection.kind()
                ),
                found: "none".to_owned(),
            });
        }
        Injection::ConcatChannels { .. } | Injection::FeaturePyramid { .. }
            if target.size.is_none() =>
        {
            "an image".to_owned()
        }
        Injection::ViewVolume { .. } | Injection::MultiView { .. } if target.rows.is_none() => {
            "[rows, channels, height, width]".to_owned()
        }
        Injection::MultiView { domains, .. }
            if target
                .rows
                .is_some_and(|rows| rows.checked_rem(*domains) != Some(0)) =>
        {
            format!("rows of {domains} domains, a multiple of that number,")
        }
        _ => return Ok(()),
    };
    Err(Mismatch {
        expected: format!(
            "{needed} in target `{}` for injection {}",
            target.column.name,
            injection.kind()
        ),
        found: show_column(target.column),
    })
}

#[cfg(test)]
mod tests;
