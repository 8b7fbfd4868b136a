//! stub
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresDsn(String);
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlDsn(String);
impl std::str::FromStr for PostgresDsn {
    type Err = std::convert::Infallible;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self(s.into()))
    }
}
impl std::fmt::Display for PostgresDsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::str::FromStr for MysqlDsn {
    type Err = std::convert::Infallible;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self(s.into()))
    }
}
impl std::fmt::Display for MysqlDsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
