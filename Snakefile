# `snakemake --cores N` at the root works: everything is in workflow/.
include: "workflow/Snakefile"


rule default:
    default_target: True
    input:
        rules.all.input,
