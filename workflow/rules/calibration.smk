rule calibration:
    input:
        sources("calibration"),
        logits=per_job("calibration", "logits.npz"),
        run=per_job("calibration", "run.json"),
    output:
        scores=per_job("calibration", "calibration.json"),
        reliability=per_job("calibration", "reliability.csv"),
    params:
        bins=config["calibration"]["bins"],
    log:
        f"{RESULTS}/logs/calibration/{job_name('calibration')}.log",
    benchmark:
        f"{RESULTS}/benchmarks/calibration/{job_name('calibration')}.tsv"
    message:
        "Score the calibration of {wildcards.model} trained with {wildcards.objective}"
    conda:
        "../../environment.yml"
    script:
        "../scripts/calibration.py"
