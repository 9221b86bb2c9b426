rule calibration:
    input:
        logits=per_job("calibration", "logits.npz"),
        run=per_job("calibration", "run.json"),
    output:
        scores=per_job("calibration", "calibration.json"),
        reliability=per_job("calibration", "reliability.csv"),
    log:
        f"{RESULTS}/logs/calibration/{job_name('calibration')}.log",
    benchmark:
        f"{RESULTS}/benchmarks/calibration/{job_name('calibration')}.tsv"
    group:
        group_of("calibration")
    conda:
        "../../environment.yml"
    resources:
        runtime=asked("calibration", "runtime"),
        mem_mb=asked("calibration", "mem_mb"),
    params:
        sources=sources("calibration"),
        bins=config["calibration"]["bins"],
    message:
        f"Score the calibration of {job_text('calibration')}"
    script:
        "../scripts/calibration.py"
