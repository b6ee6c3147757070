//! Queries about places.

use crate::cacheability::grammar::{Form, Kind, OLD, Rest, word};
use crate::outcome::Reason;

use super::queries::BASE;
use super::{SCALARS, form};

/// A point: `"lat,lon"`, a geohash, WKT, `[lon, lat]`, `{lat, lon}`, or GeoJSON.
pub(super) const POINT_KIND: Kind = Kind::Either(&[Kind::Scalar, SCALARS, POINT]);
/// A point as an object.
pub(super) const POINT: Kind = Kind::Options(&POINT_FORM);

static POINT_FORM: Form = form(
    "a point",
    "GeoUtils.parseGeoPoint, GeometryParserFormat",
    &[&[
        word("lat", Kind::Scalar).sets(&["lat"]),
        word("lon", Kind::Scalar).sets(&["lon"]),
        word("geohash", Kind::Scalar).sets(&["lat", "lon"]),
        word("type", Kind::Scalar).sets(&["lat"]),
        word("coordinates", SCALARS).sets(&["lon"]),
    ]],
);

pub(super) static GEO_BOUNDING_BOX: Form = form(
    "geo_bounding_box",
    "GeoBoundingBoxQueryBuilder",
    &[
        BASE,
        &[
            word("validation_method", Kind::Scalar),
            word("ignore_unmapped", Kind::Scalar),
            word("type", Kind::Scalar).on(OLD),
        ],
    ],
)
.rest(Rest::Name(BOX));

/// A box of two corners or four edges.
pub(super) const BOX: Kind = Kind::Options(&BOX_FORM);

static BOX_FORM: Form = form(
    "a box",
    "GeoBoundingBox.parseBoundingBox",
    &[&[
        word("top", Kind::Scalar).sets(&["top"]),
        word("bottom", Kind::Scalar).sets(&["bottom"]),
        word("left", Kind::Scalar).sets(&["left"]),
        word("right", Kind::Scalar).sets(&["right"]),
        word("top_left", POINT_KIND).sets(&["top", "left"]),
        word("top_right", POINT_KIND).sets(&["top", "right"]),
        word("bottom_left", POINT_KIND).sets(&["bottom", "left"]),
        word("bottom_right", POINT_KIND).sets(&["bottom", "right"]),
        word("wkt", Kind::Scalar).sets(&["top", "bottom", "left", "right"]),
    ]],
);

pub(super) static GEO_DISTANCE: Form = form(
    "geo_distance",
    "GeoDistanceQueryBuilder",
    &[
        BASE,
        &[
            word("distance", Kind::Scalar),
            word("unit", Kind::Scalar),
            word("distance_type", Kind::Scalar),
            word("validation_method", Kind::Scalar),
            word("ignore_unmapped", Kind::Scalar),
        ],
    ],
)
.rest(Rest::Name(POINT_KIND));

pub(super) static GEO_GRID: Form =
    form("geo_grid", "GeoGridQueryBuilder", &[BASE, &[word("ignore_unmapped", Kind::Scalar)]])
        .rest(Rest::Name(Kind::Options(&GRID)));

static GRID: Form = form("the field of geo_grid", "GeoGridQueryBuilder", &[]).rest(Rest::One(&[
    word("geohash", Kind::Scalar),
    word("geohex", Kind::Scalar),
    word("geotile", Kind::Scalar),
]));

pub(super) static GEO_POLYGON: Form = form(
    "geo_polygon",
    "GeoPolygonQueryBuilder",
    &[BASE, &[word("validation_method", Kind::Scalar), word("ignore_unmapped", Kind::Scalar)]],
)
.rest(Rest::Name(Kind::Options(&POLYGON)));

static POLYGON: Form =
    form("the field of geo_polygon", "GeoPolygonQueryBuilder", &[&[word("points", Kind::List(&POINT_KIND))]]);

macro_rules! shape_query {
    ($name:literal, $source:literal) => {
        form($name, $source, &[BASE, &[word("ignore_unmapped", Kind::Scalar)]])
            .rest(Rest::Name(Kind::Options(&SHAPE_FIELD)))
    };
}

pub(super) static GEO_SHAPE: Form = shape_query!("geo_shape", "GeoShapeQueryBuilder");
pub(super) static SHAPE: Form = shape_query!("shape", "ShapeQueryBuilder");
pub(super) static XY_SHAPE: Form = shape_query!("xy_shape", "XYShapeQueryBuilder");

static SHAPE_FIELD: Form = form(
    "the field of a shape query",
    "AbstractGeometryQueryBuilder",
    &[&[
        word("shape", Kind::Any),
        word("relation", Kind::Scalar),
        word("strategy", Kind::Scalar),
        word("indexed_shape", Kind::Refused(Reason::Lookup, "the shape is read from another document")),
    ]],
);
