"""Every status, and every step of the ladder mending what it can, with a stand-in for the network."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image, ImageDraw
from stand_in import Make, Script, maker, page

from folioscope.types import Document, GenerateOptions, InputError, PageResult, TrustOptions
from scripted import sheets
from test_pages_pdf import drawn, pdf

GOOD = "<|ref|>title<|/ref|><|det|>[[300, 0, 700, 250]]<|/det|>\n# The garden in autumn\n\n"
GOOD_SIDE = "<|ref|>title<|/ref|><|det|>[[750, 300, 999, 700]]<|/det|>\n# The garden in autumn\n\n"
ROWS = "<table><tr><td>1</td></tr>"
GARBAGE = "g\np s\ng 3 g\nq g a\nq z r\n"
LOOP = "of the garden "

GLANCES = ("glance90", "glance180", "glance270")

AS_WRITTEN = TrustOptions(fit_boxes=False)

good, unsure = Script(GOOD), Script("ktrve awopq\n" * 3, confidence=0.2)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return maker(tmp_path_factory.mktemp("stand_in"))


def only(document: Document) -> PageResult:
    (result,) = document
    return result


def steps(result: PageResult) -> list[str]:
    return [attempt.step for attempt in result.attempts]


def kept(result: PageResult) -> list[str]:
    return [attempt.step for attempt in result.attempts if attempt.kept]


def test_ok_is_read_once(make: Make) -> None:
    reader, model = make(up=good)
    result = only(reader.read(page()))
    assert (result.status, result.doubts, steps(result)) == ("ok", (), ["first"])
    assert result.coverage == 1.0
    assert result.attempts[0].confidence == result.confidence == pytest.approx(0.99, abs=1e-3)
    assert result.attempts[0].output_tokens == result.usage.output_tokens
    assert model.seen == ["up"]


def test_blank_pages_are_not_read(make: Make) -> None:
    reader, model = make(up=good, half=good)
    result = only(reader.read(Image.new("RGB", (200, 200), (250, 249, 244))))
    assert (result.status, result.markdown, result.attempts, result.usage.output_tokens) == ("blank", "", (), 0)
    assert model.seen == []
    assert result.image is not None


def test_blank_pages_keep_their_numbers(make: Make) -> None:
    reader, _ = make(up=good, down=good)
    empty = "<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>"
    inked = drawn("0 0 100 100", "40 85 20 10 re f")
    document = reader.read(pdf(*inked, empty, inked[0], kids="3 0 R 5 0 R 6 0 R 99 0 R", count=4))
    assert [(p.number, p.status) for p in document] == [(1, "ok"), (2, "blank"), (3, "ok"), (4, "failed")]


@pytest.mark.parametrize("rule", ["published", "off"])
def test_a_loop_is_mended_by_the_windowed_ngram_rule(make: Make, rule: str) -> None:
    """The cycle is longer than the published window sees."""
    cycle = "The first frost came early this year, and we have brought in the tomatoes from the bed by the wall.\n"
    reader, _ = make(up=Script(GOOD, loop=cycle, way_out=0.01))
    options = reader.options if rule == "published" else replace(reader.options, no_repeat_ngram_size=0)
    result = only(reader.read(page(), options=options))
    assert (result.status, steps(result)) == ("retried", ["first", "ngram"])
    assert [(attempt.finish, attempt.doubts) for attempt in result.attempts] == [("loop", ("loop",)), ("stop", ())]
    assert result.attempts[0].output_tokens < len(GOOD) + len(cycle) + 200
    assert "autumn" in result.markdown
    assert result.usage.output_tokens == sum(attempt.output_tokens for attempt in result.attempts)


def test_a_loop_is_mended_by_a_small_temperature(make: Make) -> None:
    """Tags of tables are exempt from the n-gram rule, so that it cannot end a loop of empty cells."""
    reader, _ = make(up=Script(GOOD, loop="<td></td>", way_out=0.4))
    result = only(reader.read(page(), trust=TrustOptions(retry_temperature=1.0)))
    assert (result.status, steps(result)) == ("retried", ["first", "ngram", "temperature"])
    assert result == replace(only(reader.read(page(), trust=TrustOptions(retry_temperature=1.0))), usage=result.usage)


def test_another_mode_mends(make: Make) -> None:
    reader, model = make(up=Script(LOOP, loop="<td></td>"), tiles=good, views=(1024,))
    result = only(reader.read(page(size=700), mode="small"))
    assert (result.status, steps(result)) == ("retried", ["first", "ngram", "temperature", "mode"])
    assert model.seen == ["up", "up", "up", "tiles"]


def test_halves_mend_and_their_boxes_are_the_pages(make: Make) -> None:
    whole = "<|det|>[[0, 0, 999, 999]]<|/det|>\n"
    half = Script(f"<|ref|>image<|/ref|>{whole}\n<|ref|>text<|/ref|>{whole}half a page")
    reader, _ = make(up=Script(), half=half)
    image = page(size=400)
    ImageDraw.Draw(image).rectangle((100, 190, 300, 204), fill="black")
    result = only(reader.read(image, trust=AS_WRITTEN))
    assert (result.status, kept(result)) == ("retried", ["mode"])
    first, second = (region for region in result.regions if region.label == "image")
    assert first.box is not None
    assert second.box is not None
    cut = first.box[3]
    assert (first.box[:3], second.box) == ((0, 0, 400), (0, cut, 400, 400))
    assert 160 <= cut <= 190 or 204 < cut <= 240  # beside the block in the middle
    assert (first.figure, second.figure) == (0, 1)
    assert result.markdown.count("half a page") == 2
    assert [f"images/{number}.jpg" in result.markdown for number in (0, 1, 2)] == [True, True, False]


WORDS = "<|ref|>The garden<|/ref|><|det|>[[420, 20, 650, 200]]<|/det|>\n"
BLOCK = WORDS.replace("The garden", "text") + "The garden"


@pytest.mark.parametrize(
    ("answer", "prompt", "trust", "fitted"),
    [
        (BLOCK, "markdown", TrustOptions(), True),
        (WORDS, "ocr", TrustOptions(), False),
        (WORDS, "locate:The garden", TrustOptions(), False),
        (BLOCK, "markdown", AS_WRITTEN, False),
    ],
)
def test_boxes_of_blocks_are_fitted_to_the_ink(
    make: Make, answer: str, prompt: str, trust: TrustOptions, fitted: bool
) -> None:
    reader, _ = make(up=Script(answer))
    (region,) = only(reader.read(page(), prompt=prompt, trust=replace(trust, retries=0))).regions
    assert region.box == pytest.approx((80, 10, 121, 41) if fitted else (84, 4, 130, 40), abs=1)


@pytest.mark.parametrize(("turned", "view"), [(90, "right"), (180, "down"), (270, "left")])
def test_a_turned_page_is_turned_back(make: Make, turned: int, view: str) -> None:
    bad = dict.fromkeys(("left", "right", "down", "half"), Script(GARBAGE))
    reader, model = make(up=good, **bad)
    result = only(reader.read(page(turned)))
    assert (result.status, kept(result)) == ("rotated", [f"rotate{360 - turned}"])
    assert model.seen[0] == view
    assert "nonsense" in result.attempts[0].doubts
    (region,) = result.regions
    block = {90: (150, 60, 200, 140), 180: (60, 150, 140, 200), 270: (0, 60, 50, 140)}[turned]
    inked = {90: (159, 80, 190, 121), 180: (79, 159, 120, 190), 270: (10, 79, 41, 120)}[turned]
    assert region.box == pytest.approx(inked, abs=1)
    assert result.coverage == 1.0
    (region,) = only(reader.read(page(turned), trust=AS_WRITTEN)).regions
    assert region.box == pytest.approx(block, abs=1)


def test_of_ways_to_turn_a_page_that_all_make_sense_the_surest_is_taken(make: Make) -> None:
    wrong, right = Script("The gardon", confidence=0.6), Script("The garden", confidence=0.8)
    reader, _ = make(right=unsure, half=unsure, down=wrong, up=right, left=unsure)
    result = only(reader.read(page(90), prompt="free"))
    assert (result.status, result.markdown, kept(result)) == ("rotated", "The garden", ["rotate270"])
    assert steps(result) == ["first", *GLANCES, "rotate270"]
    assert (result.doubts, result.attempts[0].doubts) == ((), ("nonsense", "turned"))


def test_a_page_on_its_head_that_seems_to_make_sense_is_turned(make: Make) -> None:
    """Nothing in its text is wrong, but the model is surer of the page turned."""
    odd = Script("<|ref|>title<|/ref|><|det|>[[300, 750, 700, 999]]<|/det|>\nuwnjne u! uaprog", confidence=0.7)
    reader, _ = make(up=good, down=odd, left=odd, right=odd)
    result = only(reader.read(page(180)))
    assert (result.status, steps(result), kept(result)) == (
        *("rotated", ["first", *GLANCES, "rotate180"]),
        ["rotate180"],
    )
    assert (result.attempts[0].doubts, result.doubts) == (("turned",), ())
    assert result.regions[0].box == pytest.approx((79, 159, 120, 190), abs=1)
    assert result.usage.output_tokens == sum(attempt.output_tokens for attempt in result.attempts)


def test_an_unsure_page_that_stands_right_stays_as_it_is(make: Make) -> None:
    """Its stream shows nothing of the glances."""
    reader, model = make(up=replace(good, confidence=0.7), **dict.fromkeys(("left", "right", "down"), unsure))
    events = list(reader.stream(page()))
    result = events[-1].result
    assert result is not None
    assert (result.status, result.doubts, kept(result), steps(result)[1:]) == ("ok", (), ["first"], [*GLANCES])
    assert "".join(event.text for event in events) == result.raw
    assert not any(event.restart for event in events)
    assert len(model.seen) == 4


def test_garbage_in_every_way_is_kept_and_said(make: Make) -> None:
    reader, model = make(**dict.fromkeys(("up", "left", "right", "down", "half"), unsure))
    result = only(reader.read(page()))
    assert (steps(result), kept(result)) == (["first", *GLANCES, "temperature", "mode"], ["first"])
    assert (result.status, result.doubts) == ("ok", ("nonsense", "coverage"))
    assert len(model.seen) == 7  # two halves


def test_the_pdfs_own_text_is_the_last_resort(make: Make) -> None:
    reader, _ = make(**dict.fromkeys(("up", "left", "right", "down", "half"), Script(LOOP, loop="<td></td>")))
    font = "/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>"
    text = "40 85 20 10 re f BT /F 10 Tf 10 20 Td (Paid in full) Tj ET"
    result = only(reader.read(pdf(*drawn("0 0 100 100", text, font))))
    assert (result.status, result.markdown, kept(result)) == ("fallback", "Paid in full", ["text_layer"])
    assert result.raw == "Paid in full"
    (region,) = result.regions
    assert region.box is not None
    assert region.box == pytest.approx((20, 145, 112, 160), abs=4)  # at 144 dpi, from the left top
    without = only(reader.read(pdf(*drawn("0 0 100 100", text, font)), trust=TrustOptions(text_layer=False)))
    assert without.status == "repeated"


def test_repeated_is_what_nothing_mends(make: Make) -> None:
    reader, _ = make(**dict.fromkeys(("up", "left", "right", "down", "half"), Script(GOOD, loop="<td></td>")))
    result = only(reader.read(page()))
    assert (result.status, result.doubts) == ("repeated", ("loop",))
    assert result.raw.startswith(GOOD)


def test_cut_markup_is_truncated(make: Make) -> None:
    for text in (GOOD + ROWS, GOOD + "<|ref|>text<|/ref|><|det|>[[1, 2"):
        reader, _ = make(up=Script(text), half=Script(text))
        result = only(reader.read(page(), trust=TrustOptions(rotate=False)))
        assert (result.status, result.doubts) == ("truncated", ("cut",))


def test_the_models_last_position_truncates_and_a_limit_asked_for_is_no_doubt(make: Make) -> None:
    reader, model = make(up=good, half=good, positions=40)
    assert only(reader.read(page(), trust=TrustOptions(rotate=False))).doubts[0] == "cut"
    model.seen.clear()
    limited = only(reader.read(page(), options=replace(reader.options, max_new_tokens=9)))
    assert (limited.status, limited.doubts, model.seen) == ("truncated", (), ["up"])


def test_empty_is_failed(make: Make) -> None:
    reader, _ = make(**dict.fromkeys(("up", "left", "right", "down", "half"), Script()))
    result = only(reader.read(page()))
    assert (result.status, result.doubts) == ("failed", ("empty",))
    assert "ink" in str(result.error)


def test_low_coverage_is_reason_enough(make: Make) -> None:
    beside = Script("<|ref|>text<|/ref|><|det|>[[0, 800, 999, 999]]<|/det|>\nBelow it")
    reader, _ = make(up=beside, half=beside)
    result = only(reader.read(page()))
    assert (result.attempts[0].doubts, result.attempts[0].coverage) == (("coverage",), 0)
    assert steps(result) == ["first", "mode"]
    assert only(reader.read(page(), trust=TrustOptions(min_coverage=0))).doubts == ()


def test_retries_are_limited(make: Make) -> None:
    reader, model = make(**dict.fromkeys(("up", "left", "right", "down", "half"), unsure))
    assert steps(only(reader.read(page(), trust=TrustOptions(retries=1)))) == ["first", *GLANCES, "temperature"]
    assert steps(only(reader.read(page(), trust=TrustOptions(retries=0)))) == ["first"]
    assert steps(only(reader.read(page(), trust=TrustOptions(rotate=False)))) == ["first", "temperature", "mode"]


@pytest.mark.parametrize("wrong", [{"retries": -1}, {"retry_temperature": 0}, {"min_coverage": 2}])
def test_options_are_checked(wrong: dict) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))}="):
        TrustOptions(**wrong)


def test_a_stream_says_when_a_page_starts_again(make: Make) -> None:
    reader, _ = make(**dict.fromkeys(("up", "left", "right", "down", "half"), unsure))
    events = list(reader.stream(page()))
    assert [event.restart for event in events if event.restart] == ["temperature", "mode", "first"]
    last = max(place for place, event in enumerate(events) if event.restart)
    result = events[-1].result
    assert result is not None
    assert "".join(event.text for event in events[last:]) == result.raw


def test_pages_are_mended_side_by_side(make: Make) -> None:
    reader, _ = make(half=good, down=good)
    many = reader.read(sheets(5), batch_size=3)
    assert [result.number for result in many] == [1, 2, 3, 4, 5]
    assert {result.status for result in many} == {"ok"}


def test_as_published_there_is_no_detection(make: Make) -> None:
    reader, _ = make(up=Script(GOOD, loop=LOOP), positions=900)
    options = GenerateOptions(no_repeat_ngram_size=0)
    result = only(reader.read(page(), options=options, trust=TrustOptions(retries=0)))
    assert (result.status, result.attempts[0].finish) == ("truncated", "length")
