import{a,b}from"./chunk-DZBZIB3Q.js";import"./chunk-QXXUP7R2.js";import"./chunk-KE47JQLL.js";import"./chunk-VKW4UOH3.js";import"./chunk-DCANE7XH.js";export{a as fetchPresets,b as fillPresetMenu};
