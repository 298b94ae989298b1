"""Number the references of a text in the order in which it cites them."""

import re

MARK = re.compile(r" ?\[@(\w+)\]")
WORKS = {
    "claim": "Tejani AS, Klontzas ME, Gatti AA, Mongan JT, Moy L, Park SH, Kahn CE; CLAIM 2024 Update Panel. "
    "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 update. Radiology: Artificial "
    "Intelligence 2024;6:e240300. doi:10.1148/ryai.240300",
    "tripod": "Collins GS, Moons KGM, Dhiman P, and others. TRIPOD+AI statement: updated guidance for reporting "
    "clinical prediction models that use regression or machine learning methods. BMJ 2024;385:e078378. "
    "doi:10.1136/bmj-2023-078378",
    "modelcards": "Mitchell M, Wu S, Zaldivar A, and others. Model cards for model reporting. FAT* 2019. "
    "doi:10.1145/3287560.3287596",
    "otsu": "Otsu N. A threshold selection method from gray-level histograms. IEEE Transactions on Systems, Man, and "
    "Cybernetics 1979;9:62-66.",
    "n4": "Tustison NJ, Avants BB, Cook PA, and others. N4ITK: improved N3 bias correction. IEEE Transactions on "
    "Medical Imaging 2010;29:1310-1320.",
    "stripe": "Shinohara RT, Sweeney EM, Goldsmith J, and others. Statistical normalization techniques for magnetic "
    "resonance imaging. NeuroImage: Clinical 2014;6:9-19.",
    "cardoso": "Cardoso MJ, Modat M, Vercauteren T, Ourselin S. Scale factor point spread function matching: beyond "
    "aliasing in image resampling. MICCAI 2015.",
    "resnet": "He K, Zhang X, Ren S, Sun J. Deep residual learning for image recognition. CVPR 2016.",
    "zunair": "Zunair H, Rahman A, Mohammed N, Cohen JP. Uniformizing techniques to process CT scans with 3D CNNs for "
    "tuberculosis prediction. PRIME 2020.",
    "batchnorm": "Ioffe S, Szegedy C. Batch normalization: accelerating deep network training by reducing internal "
    "covariate shift. ICML 2015.",
    "groupnorm": "Wu Y, He K. Group normalization. ECCV 2018.",
    "dropout": "Srivastava N, Hinton G, Krizhevsky A, Sutskever I, Salakhutdinov R. Dropout: a simple way to "
    "prevent neural networks from overfitting. Journal of Machine Learning Research 2014;15:1929-1958.",
    "he_normal": "He K, Zhang X, Ren S, Sun J. Delving deep into rectifiers: surpassing human-level performance on "
    "ImageNet classification. ICCV 2015.",
    "glorot_uniform": "Glorot X, Bengio Y. Understanding the difficulty of training deep feedforward neural networks. "
    "AISTATS 2010.",
    "adam": "Kingma DP, Ba J. Adam: a method for stochastic optimization. ICLR 2015.",
    "cosine": "Loshchilov I, Hutter F. SGDR: stochastic gradient descent with warm restarts. ICLR 2017.",
    "newcombe": "Newcombe RG. Confidence intervals for an effect size measure based on the Mann-Whitney statistic, "
    "part 2. Statistics in Medicine 2006;25:559-573.",
    "clopper": "Clopper CJ, Pearson ES. The use of confidence or fiducial limits illustrated in the case of the "
    "binomial. Biometrika 1934;26:404-413.",
    "wilson": "Wilson EB. Probable inference, the law of succession, and statistical inference. Journal of the "
    "American Statistical Association 1927;22:209-212.",
    "phipson": "Phipson B, Smyth GK. Permutation p-values should never be zero. Statistical Applications in "
    "Genetics and Molecular Biology 2010;9:39.",
    "delong": "DeLong ER, DeLong DM, Clarke-Pearson DL. Comparing the areas under two or more correlated receiver "
    "operating characteristic curves. Biometrics 1988;44:837-845.",
    "holm": "Holm S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics "
    "1979;6:65-70.",
    "brier": "Brier GW. Verification of forecasts expressed in terms of probability. Monthly Weather Review "
    "1950;78:1-3.",
    "cox": "Cox DR. Two further applications of a model for binary regression. Biometrika 1958;45:562-565.",
    "vickers": "Vickers AJ, Elkin EB. Decision curve analysis: a novel method for evaluating prediction models. "
    "Medical Decision Making 2006;26:565-574.",
    "obuchowski": "Obuchowski NA, McClish DK. Sample size determination for diagnostic accuracy studies involving "
    "binormal ROC curve indices. Statistics in Medicine 1997;16:1529-1542.",
    "croissant": "Akhtar M, Benjelloun O, Conforti C, and others. Croissant: a metadata format for ML-ready datasets. "
    "NeurIPS Datasets and Benchmarks 2024.",
}


def number(text: str) -> tuple[str, list[str]]:
    """Replace marks such as [@adam] by numbers in the order of their first use.

    Returns:
        The text, and the works by number. What is no mark of WORKS stays as it is.
    """
    order: dict[str, int] = {}

    def mark(match: re.Match[str]) -> str:
        if match[1] not in WORKS:
            return match[0]
        return f" [{order.setdefault(match[1], len(order) + 1)}]"

    numbered = MARK.sub(mark, text)
    return numbered, [WORKS[key] for key in order]


def plain(text: str) -> str:
    """Remove the marks of references, for text that has no list of them."""
    return MARK.sub("", text)
