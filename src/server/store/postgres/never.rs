//! Types that only satisfy the traits of sqlx: the rows, values and statements of [`Postgres`] are those of `Any`.

use std::borrow::Cow;

use sqlx::{
    Arguments, Column, ColumnIndex, Either, FromRow, IntoArguments, Row, SqlStr, Statement, Value, ValueRef,
    postgres::PgTypeInfo,
    query::{Query, QueryAs, QueryScalar},
};

use super::driver::Postgres;

#[derive(Debug, Clone)]
pub(crate) enum Never {}

#[derive(Debug, Default)]
pub(crate) struct NoArguments;

impl Row for Never {
    type Database = Postgres;

    fn columns(&self) -> &[Self] {
        match *self {}
    }

    fn try_get_raw<I: ColumnIndex<Self>>(&self, _: I) -> sqlx::Result<Self> {
        match *self {}
    }
}

impl Column for Never {
    type Database = Postgres;

    fn ordinal(&self) -> usize {
        match *self {}
    }

    fn name(&self) -> &str {
        match *self {}
    }

    fn type_info(&self) -> &PgTypeInfo {
        match *self {}
    }
}

impl Value for Never {
    type Database = Postgres;

    fn as_ref(&self) -> Self {
        match *self {}
    }

    fn type_info(&self) -> Cow<'_, PgTypeInfo> {
        match *self {}
    }

    fn is_null(&self) -> bool {
        match *self {}
    }
}

impl ValueRef<'_> for Never {
    type Database = Postgres;

    fn to_owned(&self) -> Self {
        match *self {}
    }

    fn type_info(&self) -> Cow<'_, PgTypeInfo> {
        match *self {}
    }

    fn is_null(&self) -> bool {
        match *self {}
    }
}

impl Arguments for NoArguments {
    type Database = Postgres;

    fn reserve(&mut self, _: usize, _: usize) {}

    fn add<'t, T: sqlx::Encode<'t, Postgres> + sqlx::Type<Postgres>>(&mut self, _: T) -> Result<(), sqlx::error::BoxDynError> {
        Err("statements take arguments of sqlx's Any".into())
    }

    fn len(&self) -> usize {
        0
    }
}

impl Statement for Never {
    type Database = Postgres;

    fn into_sql(self) -> SqlStr {
        match self {}
    }

    fn sql(&self) -> &SqlStr {
        match *self {}
    }

    fn parameters(&self) -> Option<Either<&[PgTypeInfo], usize>> {
        match *self {}
    }

    fn columns(&self) -> &[Self] {
        match *self {}
    }

    fn query(&self) -> Query<'_, Postgres, NoArguments> {
        match *self {}
    }

    fn query_with<A: IntoArguments<Postgres>>(&self, _: A) -> Query<'_, Postgres, A> {
        match *self {}
    }

    fn query_as<O: for<'r> FromRow<'r, Self>>(&self) -> QueryAs<'_, Postgres, O, NoArguments> {
        match *self {}
    }

    fn query_as_with<'s, O: for<'r> FromRow<'r, Self>, A: IntoArguments<Postgres>>(&'s self, _: A) -> QueryAs<'s, Postgres, O, A> {
        match *self {}
    }

    fn query_scalar<O>(&self) -> QueryScalar<'_, Postgres, O, NoArguments>
    where
        (O,): for<'r> FromRow<'r, Self>,
    {
        match *self {}
    }

    fn query_scalar_with<'s, O, A: IntoArguments<Postgres>>(&'s self, _: A) -> QueryScalar<'s, Postgres, O, A>
    where
        (O,): for<'r> FromRow<'r, Self>,
    {
        match *self {}
    }
}
