"""Look closer at one model's runs of one seed: spectra, losses around the weights, estimators."""

import logging
from pathlib import Path

import job

from focal_curvature.curvature.geometry import compare, spectrum, surroundings
from focal_curvature.curvature.problem import Problem
from focal_curvature.data import tensors
from focal_curvature.files import read_json, verify, write_csv
from focal_curvature.runs import CROSS_ENTROPY, RunSpec
from focal_curvature.seeds import derive_seed
from focal_curvature.training import (
    build_loss,
    build_model,
    choose_device,
    deterministic,
    load_weights,
)


def main(snakemake):
    settings, look = dict(snakemake.params.settings), snakemake.params.geometry
    split, samples = settings.pop("split"), settings.pop("samples")
    deterministic(snakemake.threads)
    device = choose_device(snakemake.config["device"])
    data = tensors.load(
        Path(snakemake.input.dataset[0]).parent, Path(snakemake.input.splits[0]).parent, device
    )
    chosen = tensors.subset(data.splits[split], samples).split
    runs = []
    for model_file, run_file in zip(snakemake.input.model, snakemake.input.run, strict=True):
        run = read_json(Path(run_file))
        if run["status"] == "completed":
            verify(Path(model_file), run["sha256"]["model.pt"])
            runs.append((RunSpec.from_dict(run["spec"]), Path(model_file)))
    gammas = [spec.objective.gamma for spec, _ in runs]
    tables = {"spectrum": [], "lines": [], "plane": [], "estimators": []}
    for spec, file in runs:
        logging.info("%s: spectrum and surroundings", spec.folder)
        model = build_model(spec, data, device)
        model.load_state_dict(load_weights(file, device))
        objectives = {"objective": spec.objective, "cross_entropy": CROSS_ENTROPY}
        made = {  # one for both at gamma 0
            o.slug: Problem.of(
                model,
                build_loss(o),
                chosen.images,
                chosen.labels,
                batch=settings["batch"],
                chunk=settings["chunk"],
            )
            for o in objectives.values()
        }
        problems = {name: made[o.slug] for name, o in objectives.items()}
        seed = derive_seed("geometry", spec.model, spec.seed)
        spectra = {
            slug: spectrum(problem, seed, probes=look["probes"], steps=look["steps"])
            for slug, problem in made.items()
        }
        found = {
            "spectrum": [
                {"hessian_of": name} | row
                for name, o in objectives.items()
                for row in spectra[o.slug]
            ],
            "estimators": [
                compare(
                    model, problems["objective"].loss, chosen.images, chosen.labels, settings, seed
                )
            ],
        }
        found["lines"], found["plane"] = surroundings(
            problems,
            seed,
            reach=look["reach"],
            resolution=look["resolution"],
            surface=spec.objective.gamma in (min(gammas), max(gammas)),
        )
        keys = {"model": spec.model, "gamma": spec.objective.gamma, "seed": spec.seed}
        for name, rows in found.items():
            tables[name] += [keys | row for row in rows]
    for name, rows in tables.items():
        write_csv(Path(snakemake.output[name]), rows)


if "snakemake" in globals():
    job.run(main, snakemake)
