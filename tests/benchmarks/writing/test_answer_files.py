"""Answers on disk: a killed run goes on with the next answer and ends with the same; damage is noticed."""

import json
from dataclasses import replace

import pytest

from qkld.benchmarks.writing import Sampling, answer_files, kept_answers
from qkld.benchmarks.writing.answer_files import answers_key
from qkld.errors import StoreError

GREEDY = Sampling()


def kept(model, prompts, folder, sampling=GREEDY):
    return kept_answers(model, prompts, sampling, folder, description="test")


def test_a_run_that_is_killed_ten_times_ends_with_the_same_answers(model, prompts, tmp_path, monkeypatch):
    whole = kept(model, prompts, tmp_path / "whole")
    saved = []
    save = answer_files._save

    def dies_after_one(*given):
        if saved and len(saved) <= 10:
            saved.append("killed")
            raise KeyboardInterrupt
        save(*given)
        saved.append("answer")

    monkeypatch.setattr(answer_files, "_save", dies_after_one)
    for _ in range(10):
        with pytest.raises(KeyboardInterrupt):
            kept(model, prompts, tmp_path / "killed")
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*.json")}
    assert len(there) == 1
    assert kept(model, prompts, tmp_path / "killed") == whole
    assert {path: path.stat().st_mtime_ns for path in there} == there


def test_finished_answers_are_not_written_again(model, prompts, tmp_path, monkeypatch):
    whole = kept(model, prompts, tmp_path)
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == len(prompts)
    files[3].unlink()
    asked = []
    write = answer_files.write_answers
    monkeypatch.setattr(answer_files, "write_answers", lambda m, p, s: (asked.extend(p), write(m, p, s))[1])
    assert kept(model, prompts, tmp_path) == whole
    assert len(asked) == 1


def test_prompts_that_ask_the_same_are_answered_once(model, prompts, tmp_path):
    twice = [prompts[2], replace(prompts[2], name="again")]
    assert len(kept(model, twice, tmp_path)) == len(list(tmp_path.glob("*.json"))) == 1


@pytest.mark.parametrize("change", [("request", "other"), ("answer", {}), ("more", 3), ("sha256", "0" * 16), None])
def test_a_damaged_or_edited_answer_is_refused(model, prompts, tmp_path, change):
    kept(model, prompts[:1], tmp_path)
    (path,) = tmp_path.glob("*.json")
    values = json.loads(path.read_text())
    path.write_text("{" if change is None else json.dumps({**values, change[0]: change[1]}))
    with pytest.raises(StoreError, match=f"{path.name} was damaged"):
        kept(model, prompts[:1], tmp_path)


def test_the_key_names_model_and_sampling_and_no_seed_where_none_is_used(model):
    keys = [
        answers_key(model, GREEDY),
        answers_key(model, Sampling(0.7)),
        answers_key(model, Sampling(0.7, seed=1)),
        answers_key(model, Sampling(0.7, repeat=1)),
        answers_key(replace(model, weights_sha256="other"), GREEDY),
    ]
    assert len(set(keys)) == len(keys)
    assert answers_key(model, Sampling(seed=3)) == answers_key(model, GREEDY)


def test_another_prompt_s_answer_is_refused(model, prompts, tmp_path):
    kept(model, prompts[:2], tmp_path)
    first, second = sorted(tmp_path.glob("*.json"))
    first.write_bytes(second.read_bytes())
    with pytest.raises(StoreError, match="the answer to"):
        kept(model, prompts[:2], tmp_path)
