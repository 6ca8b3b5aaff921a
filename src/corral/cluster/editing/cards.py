"""Matches the cards of a machine with those of the file, and updates the file's.

A card is the one with its UUID; else the one with its index, unless that names another card that is here as well.
"""

from __future__ import annotations

from typing import Any

from corral.cluster.document import Path
from corral.cluster.editing.editor import Editor
from corral.cluster.editing.facts import CardFacts
from corral.cluster.editing.section import card_entry
from corral.cluster.editing.spelling import near_size
from corral.cluster.gpu_facts import FindGpu
from corral.errors import CorralError


def merge_cards(editor: Editor, at: Path, cards: tuple[CardFacts, ...], find_gpu: FindGpu) -> list[str]:
    """Update the list of cards at a path; return what the user should know."""
    entries: list[dict[str, Any]] = [dict(entry) for entry in editor.at(at)]  # plain YAML
    matched = _matched(entries, cards)
    notes: list[str] = []
    for place, entry in enumerate(entries):
        card = matched.get(place)
        if card is None:
            index = entry.get("index", place)
            notes.append(f"GPU {index} ({entry.get('model', 'no model')}) was not found; it stays in the file")
        else:
            notes += _update(editor, (*at, place), entry, card, find_gpu)
    taken = {card.index for card in matched.values()}
    for card in cards:
        if card.index not in taken:
            editor.append(at, card_entry(card))
            notes.append(f"GPU {card.index} ({card.model or card.driver_name or 'unknown'}) was added")
    return notes


def _matched(entries: list[dict[str, Any]], cards: tuple[CardFacts, ...]) -> dict[int, CardFacts]:  # plain YAML
    by_uuid = {card.uuid: card for card in cards if card.uuid is not None}
    matched = {place: by_uuid[entry["uuid"]] for place, entry in enumerate(entries) if entry.get("uuid") in by_uuid}
    taken = {card.index for card in matched.values()}
    by_index = {card.index: card for card in cards if card.index not in taken}
    for place, entry in enumerate(entries):
        index = entry.get("index", place)
        if place not in matched and index in by_index:
            matched[place] = by_index.pop(index)
    return matched


def _update(
    editor: Editor,
    at: Path,
    entry: dict[str, Any],  # plain YAML
    card: CardFacts,
    find_gpu: FindGpu,
) -> list[str]:
    name = f"GPU {card.index}"
    notes = [f"{name} is lost; it stays in the file"] if card.is_lost else []
    if card.model is not None and not _is_model(entry, card, find_gpu):
        notes += [f"{name} was {entry['model']}, is {card.model}"] if "model" in entry else []
        editor.assign((*at, "model"), card.model)
        if "memory" in entry:
            editor.remove((*at, "memory"))
    if card.uuid is not None and entry.get("uuid") != card.uuid:
        notes += [f"{name} is another card: its UUID was {entry['uuid']}"] if "uuid" in entry else []
        editor.assign((*at, "uuid"), card.uuid, after="index" if "index" in entry else "model")
    if card.model is None and card.memory is not None and not {"model", "memory"} & entry.keys():
        editor.assign((*at, "memory"), near_size(card.memory))
    *_, place = at
    if entry.get("index", place) != card.index:
        notes.append(f"GPU {entry.get('index', place)} is {name} now; queues and layouts may still name the old index")
        editor.assign((*at, "index"), card.index, after="model")
    if "powerLimit" in entry:
        return notes + _limit_notes(int(str(entry["powerLimit"]).rstrip(" W")), card)
    if card.power_limit_w is not None:
        editor.assign((*at, "powerLimit"), card.power_limit_w)
    return notes


def _limit_notes(stated_w: int, card: CardFacts) -> list[str]:
    """Say where the limit that the user wants, which stays, is not the card's, or cannot be."""
    name = f"GPU {card.index}"
    if card.power_range_w is not None and not card.power_range_w[0] <= stated_w <= card.power_range_w[1]:
        least, most = card.power_range_w
        return [
            f"{name} refuses the power limit of {stated_w} W that the file states; it takes {least:g} W to {most:g} W"
        ]
    if card.is_lost or stated_w == card.power_limit_w:
        return []
    now = "its own" if card.power_limit_w is None else f"{card.power_limit_w} W"
    return [f"the power limit of {name} stays {stated_w} W in the file; on the card it is {now}"]


def _is_model(entry: dict[str, Any], card: CardFacts, find_gpu: FindGpu) -> bool:  # plain YAML
    """Tell whether the file names this card's model, however it spells it."""
    if "model" not in entry:
        return False
    try:
        found = find_gpu(entry["model"], memory=card.memory)
    except CorralError:
        return False
    return not isinstance(found, tuple) and found.name == card.model
