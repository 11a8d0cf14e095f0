//! A Lua state in which scripts find what they find in Redis, and nothing else.
//!
//! It owns the environment and the conversions between Lua's values and replies. It does not
//! know what commands do: whoever serves scripts passes that in.
//!
//! Invariant: nothing a script does outlives its call. It cannot make or change a global, and
//! what could tell one run from another (the clock but through `TIME`, chance, files, the order
//! of a table) is not there. Neither is `pcall`: no script goes on after its store has failed.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
};

use bytes::Bytes;
use mlua::{FromLua, Function, IntoLua, Lua, LuaOptions, StdLib, Table, Value, Variadic};

use super::{
    commands::{Answer, Arg},
    keyspace::Trouble,
    number,
};
use crate::{
    queue::PREFIX,
    store::{Reply, Script, StoreError},
};

/// What scripts see of Lua's own globals.
const KEPT: &[&str] = &[
    "assert", "error", "ipairs", "math", "next", "select", "string", "table", "tonumber", "tostring", "type",
    "unpack",
];

/// Makes the environment of scripts: they read globals through it, and fail where Redis's would.
const GUARD: &str = r#"
local globals = ...
local function refuse(what)
  return function(_, name)
    error('script attempted to ' .. what .. " global variable '" .. tostring(name) .. "'", 2)
  end
end
setmetatable(globals, { __index = refuse('access nonexistent') })
return setmetatable({}, { __index = globals, __newindex = refuse('write the') })
"#;

/// A Lua state that has compiled each script at most once.
pub(super) struct Interpreter {
    lua: Lua,
    globals: Table,
    environment: Table,
    redis: Table,
    compiled: RefCell<HashMap<Script, Function>>,
}

impl Interpreter {
    pub(super) fn new() -> Self {
        Self::build().expect("a Lua state needs nothing but memory")
    }

    fn build() -> mlua::Result<Self> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let globals = lua.create_table()?;
        for &name in KEPT {
            globals.raw_set(name, lua.globals().raw_get::<Value>(name)?)?;
        }
        let math: Table = globals.raw_get("math")?;
        math.raw_set("random", mlua::Nil)?;
        math.raw_set("randomseed", mlua::Nil)?;

        let redis = lua.create_table()?;
        redis.raw_set("error_reply", lua.create_function(|lua, text: Value| one_field(lua, "err", text))?)?;
        redis.raw_set("status_reply", lua.create_function(|lua, text: Value| one_field(lua, "ok", text))?)?;
        globals.raw_set("redis", &redis)?;

        let environment = lua.load(GUARD).call(&globals)?;
        Ok(Self { lua, globals, environment, redis, compiled: RefCell::default() })
    }

    /// Has `redis.call` do what `call` does, for as long as `work` runs scripts.
    pub(super) fn serve<R>(
        &self,
        mut call: impl FnMut(&str, &[Arg]) -> Result<Answer, Trouble>,
        work: impl FnOnce(&Self) -> R,
    ) -> R {
        let served = self.lua.scope(|scope| {
            let call = scope.create_function_mut(move |_, (command, args): (Word, Variadic<Word>)| {
                let command = String::from_utf8_lossy(&command.0).to_ascii_uppercase();
                let args: Vec<Arg> = args.into_iter().map(|word| word.0).collect();
                call(&command, &args).map_err(mlua::Error::external)
            })?;
            self.redis.raw_set("call", call)?;
            Ok(work(self))
        });
        served.expect("a function needs nothing but memory")
    }

    /// Runs a script. `Unavailable` if its store failed, `Broken` if it did.
    pub(super) fn run(&self, script: Script, args: &[Bytes]) -> Result<Reply, StoreError> {
        let named = |error: mlua::Error| trouble(script.name(), &error);
        let mut compiled = self.compiled.borrow_mut();
        let function = match compiled.entry(script) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(self.compile(script.name(), script.body()).map_err(named)?),
        };
        self.call(function, args).map_err(named)
    }

    #[cfg(test)]
    pub(super) fn eval(&self, source: &str, args: &[Bytes]) -> Result<Reply, StoreError> {
        let function = self.compile("test", source).map_err(|error| trouble("test", &error))?;
        self.call(&function, args).map_err(|error| trouble("test", &error))
    }

    fn compile(&self, name: &str, source: &str) -> mlua::Result<Function> {
        let chunk = self.lua.load(source).set_name(format!("={name}"));
        chunk.set_environment(self.environment.clone()).into_function()
    }

    fn call(&self, function: &Function, args: &[Bytes]) -> mlua::Result<Reply> {
        let values = self.lua.create_table_with_capacity(args.len(), 0)?;
        for arg in args {
            values.raw_push(self.lua.create_string(arg)?)?;
        }
        self.globals.raw_set("KEYS", self.lua.create_sequence_from([PREFIX])?)?;
        self.globals.raw_set("ARGV", values)?;
        reply(function.call(())?)
    }
}

/// An argument of `redis.call`: a string, or a number, which becomes one.
struct Word(Arg);

impl FromLua for Word {
    fn from_lua(value: Value, _: &Lua) -> mlua::Result<Self> {
        Ok(Self(match value {
            Value::String(text) => text.as_bytes().to_vec(),
            Value::Integer(number) => number.to_string().into_bytes(),
            Value::Number(number) => number::to_text(number).into_bytes(),
            _ => {
                return Err(mlua::Error::runtime(
                    "Lua redis lib command arguments must be strings or integers",
                ));
            }
        }))
    }
}

impl IntoLua for Answer {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        match self {
            Self::Done => one_field(lua, "ok", "OK").map(Value::Table),
            Self::Reply(reply) => value(lua, reply),
        }
    }
}

fn value(lua: &Lua, reply: Reply) -> mlua::Result<Value> {
    Ok(match reply {
        Reply::Nil => Value::Boolean(false),
        Reply::Int(number) => number.into_lua(lua)?,
        Reply::Bytes(bytes) => Value::String(lua.create_string(bytes)?),
        Reply::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for item in items {
                table.raw_push(value(lua, item)?)?;
            }
            Value::Table(table)
        }
    })
}

/// What a script returned, as Redis would answer it.
fn reply(value: Value) -> mlua::Result<Reply> {
    Ok(match value {
        Value::Boolean(true) => Reply::Int(1),
        Value::Integer(number) => Reply::Int(number),
        // Fractions are cut off.
        #[expect(clippy::cast_possible_truncation)]
        Value::Number(number) => Reply::Int(number as i64),
        Value::String(text) => Reply::Bytes(Bytes::copy_from_slice(&text.as_bytes())),
        Value::Table(table) => table_reply(&table)?,
        _ => Reply::Nil,
    })
}

fn table_reply(table: &Table) -> mlua::Result<Reply> {
    if let Value::String(error) = table.raw_get("err")? {
        return Err(mlua::Error::runtime(error.to_string_lossy()));
    }
    if let Value::String(status) = table.raw_get("ok")? {
        return reply(Value::String(status));
    }
    let mut items = Vec::with_capacity(table.raw_len());
    for at in 1.. {
        match table.raw_get(at)? {
            Value::Nil => break,
            item => items.push(reply(item)?),
        }
    }
    Ok(Reply::Array(items))
}

fn one_field(lua: &Lua, name: &str, value: impl IntoLua) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(name, value)?;
    Ok(table)
}

/// Tells a store that failed from a script that did.
fn trouble(script: &str, error: &mlua::Error) -> StoreError {
    let (error, traceback) = match error {
        mlua::Error::CallbackError { cause, traceback } => (cause.as_ref(), traceback.as_str()),
        error => (error, ""),
    };
    if let Some(Trouble::Storage(error)) = error.downcast_ref() {
        return StoreError::Unavailable(error.to_string());
    }
    let text = match error {
        mlua::Error::RuntimeError(text) => text.clone(),
        other => other.to_string(),
    };
    // What follows the first line is a traceback, too.
    let text = text.lines().next().unwrap_or_default();
    let place = traceback.lines().map(str::trim).find(|line| line.starts_with(script));
    let place = place.map_or(String::new(), |place| format!(" ({place})"));
    StoreError::Broken(format!("{script}: {text}{place}"))
}
