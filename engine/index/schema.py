"""Tables of the index. Each change of a run gives it the highest revision, so that a console reads only what changed
since its last look.
"""

SCHEMA_VERSION = 15
"""Stored in PRAGMA user_version; a database of another version is set aside and rebuilt from the run directories."""
REBUILDING_VERSION = -SCHEMA_VERSION
"""Version until every run directory is in the database: readers ignore it, and the next engine completes it."""

CREATE = """
CREATE TABLE runs (
  id              TEXT PRIMARY KEY,
  origin          TEXT NOT NULL,
  name            TEXT NOT NULL,
  experiment      TEXT NOT NULL,
  spec            TEXT NOT NULL,
  architecture    TEXT NOT NULL,
  depth           INTEGER NOT NULL,
  seed            TEXT NOT NULL,
  status          TEXT NOT NULL,
  outcome         TEXT,
  intent          TEXT NOT NULL,
  position        INTEGER NOT NULL,
  place           REAL NOT NULL,
  held            INTEGER NOT NULL DEFAULT 0,
  device          TEXT,
  error           TEXT,
  created_at      REAL NOT NULL,
  started_at      REAL,
  finished_at     REAL,
  deleted_at      REAL,
  last_event_at   REAL,
  seen_at         REAL,
  step            INTEGER NOT NULL DEFAULT 0,
  total_steps     INTEGER,
  epoch           INTEGER NOT NULL DEFAULT 0,
  train_loss      REAL,
  train_error_percent REAL,
  test_loss       REAL,
  test_error_percent REAL,
  best_test_error_percent REAL,
  validation_loss REAL,
  validation_error_percent REAL,
  best_validation_error_percent REAL,
  images_per_second REAL,
  seconds         REAL,
  synthetic       INTEGER NOT NULL DEFAULT 0,
  precision       TEXT,
  device_name     TEXT,
  torch           TEXT,
  num_threads     INTEGER,
  num_train       INTEGER,
  num_test        INTEGER,
  class_counts    TEXT,
  data_sha256     TEXT,
  version         TEXT,
  checkpoint_seconds REAL NOT NULL DEFAULT 0,
  estimate        TEXT,
  starred         INTEGER NOT NULL DEFAULT 0,
  tags            TEXT NOT NULL DEFAULT '[]',
  notes           TEXT NOT NULL DEFAULT '',
  journal_offset  INTEGER NOT NULL DEFAULT 0,
  worker_seconds  REAL,
  checkpoint_step INTEGER,
  crashes         INTEGER NOT NULL DEFAULT 0,
  crash_step      INTEGER,
  unreadable      TEXT,
  revision        INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX runs_by_experiment ON runs (experiment);
CREATE INDEX runs_by_status ON runs (status, place);
CREATE INDEX runs_by_revision ON runs (revision);
CREATE TRIGGER runs_added AFTER INSERT ON runs BEGIN
  UPDATE runs SET revision = (SELECT max(revision) + 1 FROM runs) WHERE id = new.id;
END;
CREATE TRIGGER runs_changed AFTER UPDATE ON runs BEGIN
  UPDATE runs SET revision = (SELECT max(revision) + 1 FROM runs) WHERE id = new.id;
END;
CREATE TABLE epochs (
  run TEXT NOT NULL, epoch INTEGER NOT NULL, step INTEGER NOT NULL, at REAL NOT NULL,
  train_loss REAL, train_error_percent REAL, test_loss REAL, test_error_percent REAL,
  learning_rate REAL NOT NULL, images_per_second REAL NOT NULL, seconds REAL NOT NULL,
  peak_memory_bytes INTEGER NOT NULL, validation_loss REAL, validation_error_percent REAL,
  PRIMARY KEY (run, epoch)
) WITHOUT ROWID;
CREATE TABLE steps (
  run TEXT NOT NULL, step INTEGER NOT NULL, epoch INTEGER NOT NULL, at REAL NOT NULL,
  train_loss REAL, train_error_percent REAL, learning_rate REAL NOT NULL,
  images_per_second REAL NOT NULL,
  PRIMARY KEY (run, step)
) WITHOUT ROWID;
CREATE TABLE gradients (
  run TEXT NOT NULL, epoch INTEGER NOT NULL, step INTEGER NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL,
  gradient_norm REAL, weight_norm REAL, update_ratio REAL,
  PRIMARY KEY (run, epoch, position)
) WITHOUT ROWID;
CREATE TABLE checkpoints (
  run TEXT NOT NULL, step INTEGER NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (run, step)
) WITHOUT ROWID;
CREATE TABLE events (
  id INTEGER PRIMARY KEY, run TEXT NOT NULL, journal_seq INTEGER, at REAL NOT NULL, kind TEXT NOT NULL,
  text TEXT NOT NULL, UNIQUE (run, journal_seq)
);
CREATE TABLE lives (
  run TEXT NOT NULL, journal_seq INTEGER NOT NULL, heard_at REAL NOT NULL, PRIMARY KEY (run, journal_seq)
) WITHOUT ROWID;
CREATE TABLE unreadable (name TEXT PRIMARY KEY, why TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE unwritten_labels (run TEXT PRIMARY KEY, labels BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE ends_to_announce (run TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE requests (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, reply BLOB NOT NULL);
"""
