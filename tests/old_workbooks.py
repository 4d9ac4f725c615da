"""Old Excel workbooks (.xls), as xlwt 1.3 writes them; it is needed for nothing else."""

import base64
import gzip

# Well, Compound, Note; A01, DMSO, 0.001 shown as 0.1%; A02, taxol, 7 shown as 007.
_PACKED = {
    "values": (
        "ABzY8000000t4+>O=uHA6#izDZGLRiB&I?ugivVJT4bvi57xE*_0+WLp(=u=W)ISsEg^z>&}z+55IiYf3RUn@_2LhD(3=OLq6a|`"
        "5<Pkn6g;$9-@M(eZH>@?7FzaO=FOWo^Jd=8d-"
        "JpVb|zMyeAHIK66}T#RV##s1u{V?<QAf!ddrfmn+GXb9#$1XL2_h+iswyl0@8=l-"
        "xVl$=zm2N_)O^p#*jAiMrsAImu<)hX+tkjfjcCLpp~tPGd<08J<|u=@&(g9EV<6Km)e%aam?uHuANR4A6449E&|!_6W002k{-"
        "0+wT$A+H-z0*MPK1eCbw29lKw_afjr%B<c)$Xhj15uK-"
        ";EuB>h3$qje8W)5=ItEKK2tl>)xIi~eQGldr5?faE_H%L9Lr2g#MS<RS9vQu$4VoIVcg6tArk*5R06*7z`(H)gR*#t0{p4jZ`~?d"
        "|)_vt#DDe3m3>vuIG9^l3d**gtS&kPF*YpqM#t=ECxz;Eg4^Xk%&O1=mP4i)Q9yyzHW6`t1F0?*>MO^ph+Z=flK4ayq1`uy93cka"
        "7gJp)T!Wjjc?ta<3biZ)2LE(5Jj}sKsFpPH>xRT-"
        "!<G>|ngtH!a{d6JPpz=xMU_Mc+dFbbsYyV)}zViFTUKEa}T<0^Oop+`c98Om}nPY)_w<w*IkI1(m2{yXBm#&6q=&*%(v1Bxgs=ml"
        "S8Nq_(J`Em+&<v=^)`=gmj+B}g+qKf|&IrA7}5_n<mG*xr#|yQIjHLe?kc#XyPUv204)>~DnO!Gi}69z1yP;9*rj@YT}3NXzS@>R"
        "i<W&VQXbN>%SS$(qGsnDi9s>+k^bloxQJuK3viRk(eLW$L*93nhkW^a4gP!gh?-"
        "9l!LcB^JKVvK6EMZVA;pezhJu|MU3208ObMD*zS%00"
    ),
    "error": (
        "ABzY8000000t4+>O=uHA6#izDZGLRiB&I?ugivVJSY)dnywtV+_0+W0LyHL7nmtHkQbIlGL8~=KLGYw_DOABr)r&vqL2n*}iXH?("
        "Nc8AQQ1H-Zee<$g(;A@xEws$H%$qlF=FPmF_vUB!?R=y-^Qf(a71$3C%60$^RWd;-"
        ";1<H5dfS$)oBJu*3hN31KRL2N$MdE)KIud0?-DdT^u8hre5P~~6G-"
        "K<R$>itkZl+h(uN+Q0(VFfLMvMpWqO9`W~L9g<qM_<SaO|d54A0d6PPzs$$d@~k7(^&7lQ2f3F~}hNjF;XT1N5Z8=}%yM{oY@XlA"
        "2S#J!D}1$ny9%366@4&W}lfU(Qyh<p9GN9!JjVH6RgSeV5RI{|!m7yZkGlCP~?faE`y%YA>5`^lBH<N@;PO8HHVoIVBnG_S1!Het"
        "vsYdjdpS_|0A8-"
        "YwD9kwzV+S?E1&Q0XbXVWA}<t8nPlU}2n3WxiT4{%|3P#zGxp@f%hC{4W38i}US%zT8GTbN8<xc}{4|Ja~;iX~Hgh*XZ64rwB6T#"
        "*{2974rFmnK<bC)2Ck>sIF5n8qmNDeoL?ahRji+~ykBcG5U|81Kz(Rs4413txwx#tUD}9mLP|l`h8SKA1CTr)f-"
        "+zI>+9CA!4zTN2MqHy6&f^oeQfA6t}P3p=*k&UxC5MFg3RFs+p2?1-h3=FFAU7B#d5YkQpbg0<zmd1$@_X-"
        "1c3SoWaR=t1KibfUWEcf6Anmo!<Uk?nDL9nhk9EF041`WrzgC@3f>C@3f>tTPC{VpcBH^4h37S9YKCUuTh0S^Xy2usDVsJ(Kixcm"
        "!F>^SDq~{A__P+`hyrb=?1j62mll9^)8eJI3pdU;5+{)$g-v#qhsdLiLVcuE);*JpM2Dn4E3^761S"
    ),
    "hidden": (
        "ABzY8000000t4+>O=uHQ5dPjK+x*z3Nlb-"
        "S2%*rbwa8X49;|Eq>#1qgLsbM#%^svNTS5f&pw*hAAb3)|6sq8*>ct=Qpf?XfMGt}?Bzp8DD0pbI&YRt>X|2$J7FzZTZ{EClZ)PW"
        "N=Kbuxor#qvAGKAm2)p4!)e51ZMkc6)+(s1CZ&{Lc>mU`&!>U3kNP%on@x19xK*mtUy8;Cd{jZ1upQ)U{7}93mNUb3DvJV*{edr}"
        "BaEBxjw6a%mrl*;%XZnCgzF@kCCD)nu(%7;%ju}1OwbRMsqe?sXMIh}yVV#dG=|Kx#%PhWpL)c?g^cBuza%-g{>2JgoDAN5#-"
        "YCd+2zTKJv~5~P(jUY<TKCX2t&9Za!W4d3Dd4-i=wGHh`O3-"
        "#Nd9x7Jn$EJkV3hXJVa4lEWfEx(8pn&;<Z)6Ivn%M9v=qt#w>Qp9N|LJVI!BLy?vi~cFa7N&ypl<77faiKCOou`v;B;a$~y+6f@_"
        "|Tv#3yys<<VY%EQ@;2Mc$(ad~|mtB-xpS}O>-"
        "N49@ev&2Qe3;lrPKR_A7OqGQQjWlO)TLdlv6bmnwz`q|Hl_(meX2W$S{&x!1dqAKy`A)&9gO$-"
        "rW$@T@ujbao+e9Q^ex0s_g5|^ra$PDXs7ASlD_;+pj&i{+qWd1>258Y?dcQK)<3qYpb~X_x14je8FL6T8)Is><m`y~mg3Bn)D}x<"
        "3)c2I;{|KWdGpbH3DS(u&#<(h)L2M478JIiIu`8c$f#XXWJ@9Mlk#Gq#PL`TrET^%!tmh1g9i^DJb3W1Dj@i3X<ww}by0P$>H+7w"
        "&K#Ah_nBnP;xJ7573uBp0P<89aG|dJ*#K3zw!|`Z-0y`F!}Rn5Mlr&EjMkmM^r|Il|Ie}&qyKIR)%*NvJ%0Y@=l=pdDN@1!761S"
    ),
}


def old_workbook(kind: str) -> bytes:
    """Return an old workbook: ``values``; ``error``, #N/A for taxol; ``hidden``, its last row hidden."""
    return gzip.decompress(base64.b85decode(_PACKED[kind]))
