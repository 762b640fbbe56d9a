# Two promises: `make demo` and `make test` need Python 3.11 with venv, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO := demo
DEMO_PORT ?= 8808
DEMO_RULES := --recipe align --set rarest_ngram.ge=3

TORTURE_MINUTES ?= 5
TORTURE_SEED ?=

ABLATION := ablation
ABLATION_IMAGES ?= 4000
ABLATION_ARMS ?= none,recipe,random,oracle
ABLATION_OPTIONS ?= --seeds 5 --jobs 2 --samples 64000
ABLATION_SIDE := 128

EMOJI := ablation-emoji
EMOJI_LANGUAGES ?= en
EMOJI_WEB ?= --images 4000 --emoji 150
EMOJI_ARMS ?= none,recipe,random,oracle,without:each
EMOJI_OPTIONS ?= --seeds 5 --jobs 2 --samples 32000

SITE = $(BIN)/python -m sphinx -W --keep-going --quiet --nitpicky --fresh-env -b html docs docs/_build/html

.PHONY: help demo ablate ablate-each ablate-sizes ablate-emoji test torture lint types bench bench-spark bench-images bench-web bench-audit bench-crawl bench-languages bench-neighbours bench-recipes docs docs-check pictures job-zip clean

help:  ## what there is
	@sed -n 's/^\([a-z-]*\):.*##/make \1 \t/p' $(MAKEFILE_LIST)

# A stamp per set of extras: installed again only when what is asked for changed.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[$*]'
	@touch $@

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

# A detector that cannot be had, for want of npm or of a network, is done without: `add` has said why by then.
DETECTOR = if $(BIN)/align-data model add nsfw; then detector="--nsfw-model nsfw" without=; else detector= without="--without nsfw"; fi
export ALIGN_DATA_MODELS ?= $(CURDIR)/$(VENV)/models

demo: $(VENV)/.installed-report,nsfw,view  ## from the list of a tiny web of its own to verified shards, and a page that shows why
	rm -rf $(DEMO)
	$(BIN)/python examples/tiny_web.py --out $(DEMO)/web --images 3000 --pictures http://127.0.0.1:$(DEMO_PORT)
	$(BIN)/align-data run $(DEMO)/web/pairs.parquet $(DEMO_RULES) --out $(DEMO)/dataset
	$(BIN)/python examples/tiny_server.py $(DEMO)/web --port $(DEMO_PORT) --seconds 300 & server=$$!; \
	trap "kill $$server" EXIT; \
	$(BIN)/align-data fetch $(DEMO)/dataset --recipe align --allow-network 127.0.0.0/8
	$(BIN)/align-data eval-index $(DEMO)/web/evaluation --out $(DEMO)/evaluation.parquet
	$(DETECTOR); \
	$(BIN)/align-data measure $(DEMO)/dataset --eval-index $(DEMO)/evaluation.parquet $$detector && \
	$(BIN)/align-data filter $(DEMO)/dataset $(DEMO_RULES) $$without
	$(BIN)/align-data audit $(DEMO)/dataset --recipe align --html $(DEMO)/report.html
	$(BIN)/align-data why $(DEMO)/dataset --text "alt img" --limit 1
	$(BIN)/align-data export $(DEMO)/dataset --recipe align --out $(DEMO)/shards --shard-size 500 --split val=0.1
	$(BIN)/align-data verify $(DEMO)/shards
	@echo "Open $(DEMO)/report.html in a browser, or the dataset itself, live: $(BIN)/align-data view $(DEMO)/dataset --recipe align"

ablate: $(VENV)/.installed-report,train $(ABLATION)/shards/manifest.json  ## does the filter pay? arms of a tiny web, five seeds each; a stopped one goes on
	$(BIN)/align-data ablate $(ABLATION)/dataset --recipe align --eval $(ABLATION)/shards \
	  --truth $(ABLATION)/web/_truth.parquet --arms $(ABLATION_ARMS) $(ABLATION_OPTIONS) --out $(ABLATION)/out

ablate-each: $(VENV)/.installed-report,train $(ABLATION)/shards/manifest.json  ## the same without each rule, three seeds; after make ablate
	$(BIN)/align-data ablate $(ABLATION)/dataset --recipe align --eval $(ABLATION)/shards \
	  --arms none,recipe,without:each --seeds 3 --jobs 2 --samples 64000 --out $(ABLATION)/each

ablate-sizes: $(VENV)/.installed-report,train $(ABLATION)/shards/manifest.json  ## a quarter and half of the pairs, raw and filtered, three seeds; after make ablate
	$(BIN)/align-data ablate $(ABLATION)/dataset --recipe align --eval $(ABLATION)/shards \
	  --arms none,recipe --fractions 0.25,0.5 --seeds 3 --jobs 2 --samples 64000 --out $(ABLATION)/sizes

ablate-emoji: $(VENV)/.installed-report,train $(EMOJI)/shards/manifest.json  ## the same on emoji of three designers, which npm fetches; EMOJI_LANGUAGES=all
	$(BIN)/align-data ablate $(EMOJI)/dataset --recipe align --eval $(EMOJI)/shards \
	  --truth $(EMOJI)/web/_truth.parquet --arms $(EMOJI_ARMS) $(EMOJI_OPTIONS) --out $(EMOJI)/out

# The web in a folder, all of its images measured, and shards of what it holds out. No detector looks at it: of what is
# drawn it knows nothing, and what the ablation is of is the rules whose noise is planted.
define MEASURED
	$(BIN)/align-data ingest $(1)/web/pairs.parquet --out $(1)/dataset
	$(BIN)/align-data ingest $(1)/web/evaluation.parquet --out $(1)/clean
	$(BIN)/python examples/tiny_server.py $(1)/web --port $(DEMO_PORT) --seconds 600 & server=$$!; \
	trap "kill $$server" EXIT; \
	for each in dataset clean; do \
	  $(BIN)/align-data fetch $(1)/$$each --all --allow-network 127.0.0.0/8 || exit 1; done
	$(BIN)/align-data eval-index $(1)/web/evaluation --out $(1)/evaluation.parquet
	$(BIN)/align-data measure $(1)/dataset --eval-index $(1)/evaluation.parquet
	$(BIN)/align-data measure $(1)/clean
	$(BIN)/align-data filter $(1)/dataset $(DEMO_RULES) --without nsfw
	$(BIN)/align-data filter $(1)/clean --recipe examples/evaluation.yaml
	$(BIN)/align-data export $(1)/clean --recipe evaluation --resize shortest --size $(ABLATION_SIDE) --out $(1)/shards
endef

# A web with every noise, and evaluation scenes that its captions are not about.
$(ABLATION)/shards/manifest.json: | $(VENV)/.installed-report,train
	rm -rf $(ABLATION)
	$(BIN)/python examples/tiny_web.py --out $(ABLATION)/web --images $(ABLATION_IMAGES) --evaluation 300 \
	  --pictures http://127.0.0.1:$(DEMO_PORT)
	$(call MEASURED,$(ABLATION))

# What npm has fetched stays where make clean finds it.
$(EMOJI)/shards/manifest.json: | $(VENV)/.installed-report,train
	rm -rf $(EMOJI)
	$(BIN)/python examples/emoji_web.py --out $(EMOJI)/web $(EMOJI_WEB) --languages $(EMOJI_LANGUAGES) \
	  --packages $(VENV)/emoji --pictures http://127.0.0.1:$(DEMO_PORT)
	$(call MEASURED,$(EMOJI))

test: $(VENV)/.installed-test  ## the whole suite, on two cores: a third process works while the others wait
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

torture: $(VENV)/.installed-test  ## kills, damaged files, mutated inputs, accounts counted again; TORTURE_MINUTES=60, TORTURE_SEED=7
	PYTHONPATH=tests $(BIN)/python -m torture --minutes $(TORTURE_MINUTES) $(if $(TORTURE_SEED),--seed $(TORTURE_SEED))

lint: $(VENV)/.installed-check  ## ruff and the floors of the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-test $(VENV)/.installed-check  ## mypy, strict, over what needs every extra
	$(BIN)/mypy

bench: $(VENV)/.installed-bench  ## the main job against hand-written DuckDB SQL; BENCH_PAIRS=1000000 for a quick look
	$(BIN)/python benchmarks/text_half.py $(if $(BENCH_PAIRS),--pairs $(BENCH_PAIRS))

bench-spark: $(VENV)/.installed-bench  ## the Spark engine against hand-written Spark SQL, and how its costs grow
	$(BIN)/python benchmarks/spark_text_half.py $(if $(BENCH_PAIRS),--pairs $(BENCH_PAIRS))

job-zip: $(VENV)/bin/python  ## the package for spark-submit --py-files: dist/align_data-VERSION.zip
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	cd dist && for wheel in *.whl; do mv "$$wheel" "$${wheel%%-py3*}.zip"; done

bench-images: $(VENV)/.installed-bench  ## fetching, measuring and export of images, against img2dataset and bare scripts
	$(BIN)/python benchmarks/pictures.py
	$(BIN)/python benchmarks/shards.py

bench-web: $(VENV)/.installed-bench  ## fetching on a web of slow, silent and missing names, and from a list to shards, against img2dataset; as root
	$(BIN)/python benchmarks/web.py --img2dataset $(BIN)/python $(if $(BENCH_URLS),--urls $(BENCH_URLS))
	$(BIN)/python benchmarks/web.py --img2dataset $(BIN)/python $(if $(BENCH_URLS),--urls $(BENCH_URLS)) --end-to-end

bench-audit: $(VENV)/.installed-bench  ## the audit page of ten million pairs against measuring them
	$(BIN)/python benchmarks/audit.py $(if $(BENCH_PAIRS),--pairs $(BENCH_PAIRS))

bench-crawl: $(VENV)/.installed-bench  ## from WARC and WAT archives to rows, against cc2dataset's algorithm, gunzip and parsing alone; BENCH_MEGABYTES=375
	$(BIN)/python benchmarks/crawl.py $(if $(BENCH_MEGABYTES),--megabytes $(BENCH_MEGABYTES))

bench-languages: $(VENV)/.installed-bench  ## languages of a column of texts at once, and of one text at a time
	$(BIN)/python benchmarks/languages.py

bench-recipes: $(VENV)/.installed-bench  ## what deciding costs by recipe; BENCH_PAIRS=1000000 for a quick look
	$(BIN)/python benchmarks/deciding.py $(if $(BENCH_PAIRS),--pairs $(BENCH_PAIRS))

bench-neighbours: $(VENV)/.installed-bench  ## near-duplicates by embedding, against SemDeDup's own way and faiss; BENCH_IMAGES=200000
	$(BIN)/python benchmarks/neighbours.py $(if $(BENCH_IMAGES),--images $(BENCH_IMAGES))

docs: $(VENV)/.installed-docs pictures  ## write the generated pages anew, and build the site: docs/_build/html/index.html
	$(BIN)/python docs/generate.py
	$(SITE)

docs-check: $(VENV)/.installed-docs  ## fail where a generated page is old, or the site does not build without a warning
	$(BIN)/python docs/generate.py --check
	$(SITE)

pictures: $(VENV)/.installed-test  ## the pictures of pages in docs/ anew, with Chromium
	$(BIN)/python docs/pictures.py

clean:  ## remove what the others made
	rm -rf $(VENV) $(DEMO) $(ABLATION) $(EMOJI) docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
